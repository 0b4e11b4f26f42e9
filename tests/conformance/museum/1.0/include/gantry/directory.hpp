// SPDX-License-Identifier: Apache-2.0
//
// Directory: answers names from the table it was given; a name that is not in it is answered "not found", never with
// silence.
#pragma once

#include <gantry/abi/directory.h>

#include <gantry/plugin.hpp>

namespace gantry::inline v1 {

struct NameRecord {
    std::string name;     // compared without regard to ASCII case
    std::string address;  // IP address without port
    std::uint16_t port = 0;
    bool secure = false;  // the service wants TLS
    bool local = false;   // runs on this node
};

struct DirectoryFacts {
    std::uint16_t port = 0;   // where it answers
    std::string environment;  // variable that tells containers whom to ask; empty: none
};

class Directory : public Plugin {
  public:
    static constexpr std::string_view kRole = "draft.directory";
    static constexpr std::string_view kInterface = GANTRY_ROLE_DIRECTORY;

    // Asked once, after init.
    virtual DirectoryFacts facts() const = 0;
    // From now on names answer from these records and no others, all at once. Of one name, records in the address
    // family that was asked for go before others, among them those of the own node, and equals are answered in turn. A
    // table_no below the last one is ignored. [loop]
    virtual void replace(std::uint64_t table_no, std::vector<NameRecord> records) = 0;

  protected:
    Directory() = default;

  private:
    const void* role_table() const noexcept override { return &table_; }
    void publish_facts() override {
        published_ = facts();
        facts_ = {sizeof(facts_), published_.port, str(published_.environment)};
    }
    static gantry_status on_replace(void* self, std::uint64_t table_no, const gantry_name_record* records,
                                    std::size_t record_size, std::size_t count) noexcept {
        Directory& directory = *static_cast<Directory*>(static_cast<Plugin*>(self));
        return detail::notified(directory.host(), "replace", [&] {
            std::vector<NameRecord> copied;
            copied.reserve(count);
            for (std::size_t i = 0; i < count; ++i) {
                const gantry_name_record& r = *detail::element(records, record_size, i);
                copied.push_back(
                    {text(r.name), text(r.address), static_cast<std::uint16_t>(r.port), r.secure != 0, r.local != 0});
            }
            directory.replace(table_no, std::move(copied));
        });
    }

    DirectoryFacts published_;
    gantry_directory_facts facts_{};
    gantry_directory table_{sizeof(gantry_directory), 0, &facts_, &on_replace};
};

}  // namespace gantry::inline v1
