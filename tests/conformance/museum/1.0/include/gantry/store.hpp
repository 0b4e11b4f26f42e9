// SPDX-License-Identifier: Apache-2.0
//
// Store (draft): keeps the controller's state. Values are bytes.
#pragma once

#include <gantry/abi/store.h>

#include <gantry/operation.hpp>
#include <gantry/plugin.hpp>

namespace gantry::inline v1 {

inline constexpr std::uint64_t kRevisionAny = GANTRY_REVISION_ANY;    // no condition
inline constexpr std::uint64_t kRevisionNone = GANTRY_REVISION_NONE;  // the key must not exist

struct StoreEntry {
    std::string key, value;
    std::uint64_t revision = 0;  // of the commit that wrote it
};

// Result of load.
struct StoreEntries {
    std::vector<StoreEntry> entries;  // ordered by key
    std::uint64_t revision = 0;       // of the newest commit
};

struct StoreChange {
    std::string key, value;
    std::uint64_t expected = kRevisionAny;
    bool remove = false;
};

struct StoreBatch {
    std::vector<StoreChange> changes;
    bool use_reserve = false;  // may use what is kept back for moves when the disk is full
};

// Result of commit.
struct StoreCommit {
    std::uint64_t revision = 0;
};

namespace detail {
template <>
struct Lowered<StoreEntries> {
    explicit Lowered(const StoreEntries& r) {
        list.reserve(r.entries.size());
        for (const StoreEntry& e : r.entries) list.push_back({str(e.key), bytes(e.value), e.revision});
        raw = {sizeof(raw), sizeof(gantry_store_entry), list.data(), list.size(), r.revision};
    }
    const void* get() const noexcept { return &raw; }
    std::vector<gantry_store_entry> list;
    gantry_store_entries raw{};
};
template <>
struct Lowered<StoreCommit> {
    explicit Lowered(const StoreCommit& r) : raw{sizeof(raw), 0, r.revision} {}
    const void* get() const noexcept { return &raw; }
    gantry_store_commit raw;
};
}  // namespace detail

class Store : public Plugin {
  public:
    static constexpr std::string_view kRole = "draft.store";
    static constexpr std::string_view kInterface = GANTRY_ROLE_STORE;

    // All keys that begin with prefix. kFailed: corrupt or written by a newer version, and left untouched. [loop]
    virtual void load(Operation<StoreEntries> op, std::string prefix) = 0;
    // All changes or none, durable when done. kConflict and kFull: nothing was written; kUnknown: look. [loop]
    virtual void commit(Operation<StoreCommit> op, StoreBatch batch) = 0;
    // Become the one holder of name for ttl. [loop]
    virtual void elect(Operation<> op, std::string name, Duration ttl) {
        (void)name, (void)ttl;
        op.fail(Code::kUnsupported, "this store serves one controller: it elects nobody");
    }

  protected:
    Store() = default;

  private:
    const void* role_table() const noexcept override { return &kTable; }
    static Store& of(void* self) noexcept { return *static_cast<Store*>(static_cast<Plugin*>(self)); }
    static gantry_status on_load(void* self, gantry_op op, gantry_str prefix) noexcept {
        return detail::operate<StoreEntries>(
            of(self).host(), op, [&](Operation<StoreEntries> o) { of(self).load(std::move(o), text(prefix)); });
    }
    static gantry_status on_commit(void* self, gantry_op op, const gantry_store_batch* b) noexcept {
        return detail::operate<StoreCommit>(of(self).host(), op, [&](Operation<StoreCommit> o) {
            StoreBatch batch;
            batch.use_reserve = b->use_reserve != 0;
            batch.changes.reserve(b->count);
            for (std::size_t i = 0; i < b->count; ++i) {
                const gantry_store_change& c = *detail::element(b->changes, b->change_size, i);
                batch.changes.push_back({text(c.key), std::string(view(c.value)), c.expected, c.remove != 0});
            }
            of(self).commit(std::move(o), std::move(batch));
        });
    }
    static gantry_status on_elect(void* self, gantry_op op, gantry_str name, std::int64_t ttl_ns) noexcept {
        return detail::operate<void>(
            of(self).host(), op, [&](Operation<> o) { of(self).elect(std::move(o), text(name), Duration(ttl_ns)); });
    }

    static constexpr gantry_store kTable{sizeof(gantry_store), 0, &on_load, &on_commit, &on_elect};
};

}  // namespace gantry::inline v1
