// SPDX-License-Identifier: Apache-2.0
//
// PlacementPolicy: prefers one candidate over another. The kernel applied every hard rule before; a policy is pure:
// no host, no clock, no state between calls, no allocation.
//
//     class LeastLoaded : public gantry::PlacementPolicy {
//       public:
//         LeastLoaded() : PlacementPolicy({"copies", "free memory"}) {}
//         Keys rank(const Question&, const Candidate& c) const override { return {c.copies(), -c.memory_free_bytes()};
//         }
//     };
//     GANTRY_PLUGIN(LeastLoaded)
#pragma once

#include <gantry/abi/placement.h>

#include <array>
#include <gantry/plugin.hpp>

namespace gantry::inline v1 {

class PlacementPolicy : public Plugin {
  public:
    static constexpr std::string_view kRole = "placement/1";
    static constexpr std::string_view kInterface = GANTRY_ROLE_PLACEMENT;

    // Smaller wins, the first key before the others; unused keys are 0. Ties are the kernel's: by node name.
    using Keys = std::array<std::int64_t, GANTRY_PLACEMENT_KEYS>;

    // The cluster and the service, the same for all candidates of a call.
    class Question {
      public:
        Question(const gantry_snapshot& snapshot, const gantry_placement_request& request) noexcept
            : snapshot_(snapshot), request_(request) {}
        std::uint32_t nodes_total() const noexcept { return snapshot_.nodes_total; }
        std::uint32_t nodes_ready() const noexcept { return snapshot_.nodes_ready; }
        std::uint32_t copies_total() const noexcept { return snapshot_.copies_total; }
        std::string_view service() const noexcept { return view(request_.service); }
        std::int64_t cpu_milli() const noexcept { return request_.cpu_milli; }  // declared need, 0: none
        std::int64_t memory_bytes() const noexcept { return request_.memory_bytes; }
        std::uint32_t instances_wanted() const noexcept { return request_.instances_wanted; }

      private:
        const gantry_snapshot& snapshot_;
        const gantry_placement_request& request_;
    };

    // One node that may be chosen. Valid during rank().
    class Candidate {
      public:
        explicit Candidate(const gantry_candidate& raw) noexcept : raw_(raw) {}
        std::string_view node() const noexcept { return view(raw_.node); }
        std::int64_t cpu_total_milli() const noexcept { return raw_.cpu_total_milli; }
        std::int64_t cpu_free_milli() const noexcept { return raw_.cpu_free_milli; }  // less what is declared there
        std::int64_t memory_total_bytes() const noexcept { return raw_.memory_total_bytes; }
        std::int64_t memory_free_bytes() const noexcept { return raw_.memory_free_bytes; }  // measured, less pending
        std::int64_t copies_running() const noexcept { return raw_.copies_running; }
        std::int64_t copies_pending() const noexcept { return raw_.copies_pending; }
        std::int64_t copies() const noexcept { return copies_running() + copies_pending(); }
        std::int64_t copies_of_service() const noexcept { return raw_.copies_of_service; }
        bool has_image() const noexcept { return raw_.has_image != 0; }
        // Empty if the node has no such label.
        std::string_view label(std::string_view key) const noexcept {
            for (std::size_t i = 0; i < raw_.label_count; ++i) {
                if (view(raw_.labels[i].key) == key) return view(raw_.labels[i].value);
            }
            return {};
        }

      private:
        const gantry_candidate& raw_;
    };

    // The keys of one candidate; depends on the arguments and the configuration alone. Throw Failure to refuse the
    // question: the instance then waits and operators see the text. [loop]
    virtual Keys rank(const Question& question, const Candidate& candidate) const = 0;

  protected:
    // What each key means, for `gantry explain`: 1 to 4 literals.
    explicit PlacementPolicy(std::initializer_list<const char*> key_names) {
        table_.struct_size = sizeof(table_);
        for (const char* name : key_names) {
            if (table_.key_count == GANTRY_PLACEMENT_KEYS) break;
            table_.key_names[table_.key_count++] = str(name);
        }
        table_.score = &score;
    }

  private:
    const void* role_table() const noexcept override { return &table_; }

    static gantry_status score(void* self, const gantry_snapshot* snapshot, const gantry_placement_request* request,
                               const gantry_candidate* candidates, std::size_t n,
                               std::int64_t (*keys)[GANTRY_PLACEMENT_KEYS], gantry_error* error) noexcept {
        return detail::guarded(error, [&] {
            const auto& policy = *static_cast<const PlacementPolicy*>(static_cast<Plugin*>(self));
            const Question question(*snapshot, *request);
            for (std::size_t i = 0; i < n; ++i) {
                const Keys ranked =
                    policy.rank(question, Candidate(*detail::element(candidates, request->candidate_size, i)));
                std::memcpy(keys[i], ranked.data(), sizeof(keys[i]));
            }
        });
    }

    gantry_placement table_{};
};

}  // namespace gantry::inline v1
