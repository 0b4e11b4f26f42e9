// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "kernel/host/adapter.hpp"

namespace gantry::host {
namespace {

class PlacementAdapter final : public Placement {
  public:
    explicit PlacementAdapter(Site<gantry_placement> site) : site_(std::move(site)) {}

    std::vector<std::string> key_names() const override {
        std::vector<std::string> out;
        if (!site_.has(&gantry_placement::score)) return out;
        const std::uint32_t count = std::min<std::uint32_t>(site_.table->key_count, GANTRY_PLACEMENT_KEYS);
        for (std::uint32_t i = 0; i < count; ++i) out.push_back(line(site_.table->key_names[i]));
        return out;
    }

    Status score(const RankQuestion& question, std::span<Keys> keys) override {
        if (keys.size() < question.candidates.size()) {
            return fail(Code::kInvalid, "placement: fewer keys than candidates");
        }
        lower_candidates(question.candidates);
        const gantry_snapshot snapshot{sizeof(snapshot), question.nodes_total, question.nodes_ready,
                                       question.copies_total};
        const gantry_placement_request request{sizeof(request),
                                               sizeof(gantry_candidate),
                                               str(question.service),
                                               question.cpu_milli,
                                               question.memory_bytes,
                                               question.instances_wanted,
                                               0};
        static_assert(sizeof(Keys) == sizeof(std::int64_t[GANTRY_PLACEMENT_KEYS]));
        std::ranges::fill(keys, Keys{});
        ErrorBuffer error;
        const gantry_status status =
            site_.call("score", &gantry_placement::score, &snapshot, &request, candidates_.data(), candidates_.size(),
                       reinterpret_cast<std::int64_t(*)[GANTRY_PLACEMENT_KEYS]>(keys.data()), &error.raw);
        if (status != GANTRY_OK) return site_.failed(site_.who("score"), status, error.text(status));
        return {};
    }

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

    Site<gantry_placement> site_;
    std::vector<gantry_kv> labels_;
    std::vector<gantry_candidate> candidates_;
};

}  // namespace

std::unique_ptr<Placement> adapt(Site<gantry_placement> site) {
    return std::make_unique<PlacementAdapter>(std::move(site));
}

}  // namespace gantry::host
