// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cstring>
#include <stdexcept>

#include "kernel/host/adapter.hpp"

namespace gantry::host {
namespace {

// What both forms of the role share: the question in the border's words.
template <class Table>
class Asking : public Placement {
  public:
    explicit Asking(Site<Table> site) : site_(std::move(site)) {}

    std::vector<std::string> key_names() const override {
        std::vector<std::string> out;
        if (!site_.has(&Table::score)) return out;
        const std::uint32_t count = std::min<std::uint32_t>(site_.table->key_count, GANTRY_PLACEMENT_KEYS);
        for (std::uint32_t i = 0; i < count; ++i) out.push_back(line(site_.table->key_names[i]));
        return out;
    }

  protected:
    struct Question {
        gantry_snapshot snapshot;
        gantry_placement_request request;
    };
    Question lower(const RankQuestion& question) {
        lower_candidates(question.candidates);
        return {{sizeof(gantry_snapshot), question.nodes_total, question.nodes_ready, question.copies_total},
                {sizeof(gantry_placement_request), sizeof(gantry_candidate), str(question.service), question.cpu_milli,
                 question.memory_bytes, question.instances_wanted, 0}};
    }

    Site<Table> site_;
    std::vector<gantry_candidate> candidates_;

  private:
    // Into buffers that are kept: nothing is allocated once they have grown.
    void lower_candidates(std::span<const CandidateView> candidates) {
        std::size_t label_count = 0;
        for (const CandidateView& c : candidates) label_count += c.labels == nullptr ? 0 : c.labels->size();
        labels_.resize(label_count);
        candidates_.resize(candidates.size());
        gantry_kv* next = labels_.data();
        for (std::size_t i = 0; i < candidates.size(); ++i) {
            const CandidateView& c = candidates[i];
            gantry_kv* const first = next;
            if (c.labels != nullptr) {
                for (const auto& [key, value] : *c.labels) *next++ = {str(key), str(value)};
            }
            candidates_[i] = {str(c.node),
                              c.cpu_total_milli,
                              c.cpu_free_milli,
                              c.memory_total_bytes,
                              c.memory_free_bytes,
                              c.copies_running,
                              c.copies_pending,
                              c.copies_of_service,
                              c.has_image ? 1u : 0u,
                              first,
                              static_cast<std::size_t>(next - first)};
        }
    }

    std::vector<gantry_kv> labels_;
};

class PlacementAdapter final : public Asking<gantry_placement> {
  public:
    using Asking::Asking;

    void score(const RankQuestion& asked, Done<std::vector<Keys>> done) override {
        const Question question = lower(asked);
        static_assert(sizeof(Keys) == sizeof(std::int64_t[GANTRY_PLACEMENT_KEYS]));
        std::vector<Keys> keys(candidates_.size());
        ErrorBuffer error;
        const gantry_status status = site_.call(
            "score", &gantry_placement::score, &question.snapshot, &question.request, candidates_.data(),
            candidates_.size(), reinterpret_cast<std::int64_t(*)[GANTRY_PLACEMENT_KEYS]>(keys.data()), &error.raw);
        if (status != GANTRY_OK) return done(site_.failed(site_.who("score"), status, error.text(status)));
        done(std::move(keys));
    }
};

class AskedPlacementAdapter final : public Asking<AskedPlacement> {
  public:
    using Asking::Asking;

    void score(const RankQuestion& asked, Done<std::vector<Keys>> done) override {
        const Question question = lower(asked);
        const auto raise = [count = candidates_.size()](const void* raw) {
            const auto& r = result<PlacementKeys>(raw);
            if (r.count != count) {
                throw std::runtime_error("it has keys for " + std::to_string(r.count) + " of " + std::to_string(count) +
                                         " candidates");
            }
            std::vector<Keys> keys(count);
            if (count > 0) std::memcpy(keys.data(), r.keys, count * sizeof(Keys));
            return keys;
        };
        site_.ask<std::vector<Keys>>("score", kScoreLimit, std::move(done), raise, &AskedPlacement::score,
                                     &question.snapshot, &question.request, candidates_.data(), candidates_.size());
    }
};

}  // namespace

std::unique_ptr<Placement> adapt(Site<gantry_placement> site) {
    return std::make_unique<PlacementAdapter>(std::move(site));
}

std::unique_ptr<Placement> adapt(Site<AskedPlacement> site) {
    return std::make_unique<AskedPlacementAdapter>(std::move(site));
}

}  // namespace gantry::host
