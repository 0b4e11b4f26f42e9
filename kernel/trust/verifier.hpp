// SPDX-License-Identifier: Apache-2.0
//
// Verifier: who vouches for a plugin's file. docs/plugins/trust.md is the operator's side of it.
#pragma once

#include <cstdint>
#include <filesystem>
#include <gantry/trust/key.hpp>
#include <gantry/trust/list.hpp>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "kernel/base/result.hpp"

namespace gantry::trust {

struct Options {
    std::filesystem::path package;  // the folder of the plugins that came with this gantryd; empty: none did
    std::filesystem::path keys = "/etc/gantry/trusted-keys.d";
    bool require_signature = false;
};

enum class Voucher : std::uint8_t {
    kPackage,  // listed by the package that gantryd itself came with
    kKey,      // signed with a trusted key
    kNobody,
};

struct Origin {
    Voucher voucher = Voucher::kNobody;
    std::string text;    // "package", "signed by acme", "not signed"
    std::string digest;  // SHA-256 of the file, 64 hexadecimal digits
};

// Reads keys and lists once. [loop]
class Verifier {
  public:
    explicit Verifier(Options options) : options_(std::move(options)) {}

    // Who vouches for the file behind `fd`, FOLDER/NAME with NAME like "probe/tcp.so". kRefused, with one sentence,
    // for a file that FOLDER's list of digests does not name or names with another digest, and for a signature that is
    // damaged or not of these bytes.
    Result<Origin> examine(int fd, const std::filesystem::path& folder, const std::string& name);
    // Lists and keys are read again when they are needed next.
    void refresh();

    const Options& options() const { return options_; }

  private:
    struct NamedKey {
        std::string name;
        Key key;
    };
    using List = std::optional<DigestList>;  // nothing: the folder has no list

    const Result<List>& list_of(const std::filesystem::path& folder);
    void read_keys();
    Result<Origin> by_signature(const Contents& contents, const std::string& path);

    const Options options_;
    std::map<std::filesystem::path, Result<List>> lists_;
    bool keys_read_ = false;
    std::vector<NamedKey> keys_;
    std::string trouble_;  // why keys are missing among them
};

}  // namespace gantry::trust
