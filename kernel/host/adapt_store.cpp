// SPDX-License-Identifier: Apache-2.0
#include "kernel/host/adapter.hpp"

namespace gantry::host {
namespace {

class StoreAdapter final : public Store {
  public:
    explicit StoreAdapter(Site<gantry_store> site) : site_(std::move(site)) {}

    void load(const std::string& prefix, Duration limit, Done<StoreEntries> done) override {
        site_.ask<StoreEntries>("load", limit, std::move(done), &raise_entries, &gantry_store::load, str(prefix));
    }

    void commit(std::vector<StoreChange> changes, bool use_reserve, Duration limit, Done<std::uint64_t> done) override {
        std::vector<gantry_store_change> lowered;
        lowered.reserve(changes.size());
        for (const StoreChange& c : changes) {
            lowered.push_back({str(c.key), bytes(c.value), c.expected, c.remove ? 1u : 0u, 0});
        }
        const gantry_store_batch batch{sizeof(batch),  use_reserve ? 1u : 0u, sizeof(gantry_store_change), 0,
                                       lowered.data(), lowered.size()};
        site_.ask<std::uint64_t>(
            "commit", limit, std::move(done), [](const void* raw) { return result<gantry_store_commit>(raw).revision; },
            &gantry_store::commit, &batch);
    }

  private:
    static StoreEntries raise_entries(const void* raw) {
        const auto r = result<gantry_store_entries>(raw);
        StoreEntries out;
        out.revision = r.revision;
        out.entries.reserve(r.count);
        for (std::size_t i = 0; i < r.count; ++i) {
            const gantry_store_entry e = element(r.entries, r.entry_size, i);
            out.entries.push_back({copy(e.key), copy(e.value), e.revision});
        }
        return out;
    }

    Site<gantry_store> site_;
};

}  // namespace

std::unique_ptr<Store> adapt(Site<gantry_store> site) { return std::make_unique<StoreAdapter>(std::move(site)); }

}  // namespace gantry::host
