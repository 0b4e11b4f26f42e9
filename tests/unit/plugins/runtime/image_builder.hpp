// SPDX-License-Identifier: Apache-2.0
//
// Makes small OCI image layouts for tests, good ones and hostile ones.
#pragma once

#include <sys/stat.h>

#include <boost/json.hpp>
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

namespace image_builder {

struct Item {
    std::string path;
    mode_t type = S_IFREG;
    std::string content;  // or the target of a link
    mode_t permissions = 0644;
    bool hard_link = false;
    uid_t uid = 0;
    gid_t gid = 0;
    dev_t device = 0;
    std::vector<std::pair<std::string, std::string>> xattrs = {};
};

inline Item file(std::string path, std::string content, mode_t permissions = 0644) {
    return {std::move(path), S_IFREG, std::move(content), permissions};
}
inline Item folder(std::string path, mode_t permissions = 0755) { return {std::move(path), S_IFDIR, {}, permissions}; }
inline Item symbolic(std::string path, std::string target) {
    return {std::move(path), S_IFLNK, std::move(target), 0777};
}
inline Item hard(std::string path, std::string target) {
    return {std::move(path), S_IFREG, std::move(target), 0644, true};
}

enum class Packing { kPlain, kGzip, kZstd };

std::string tar(const std::vector<Item>& items);
std::string pack(const std::string& bytes, Packing packing);
std::string sha256(const std::string& bytes);  // "sha256:..."

class Layout {
  public:
    explicit Layout(std::filesystem::path dir);

    // Appends a layer.
    void layer(const std::vector<Item>& items, Packing packing = Packing::kPlain);
    void layer_bytes(const std::string& blob, const std::string& tar_digest, Packing packing);
    boost::json::object config;  // "Entrypoint", "Env", ...
    std::string architecture, system = "linux";

    // Writes configuration, manifest and index; the manifest's digest.
    std::string finish();
    // An index that offers the last manifest for this machine and another for a foreign one; the index's digest.
    std::string finish_as_index();

    std::filesystem::path blob(const std::string& digest) const;
    std::string put(const std::string& bytes);  // as a blob; its digest
    const std::filesystem::path& dir() const { return dir_; }
    const std::vector<std::string>& layers() const { return digests_; }

  private:
    void write_index(const std::string& digest, std::size_t size);

    std::filesystem::path dir_;
    std::vector<std::string> digests_, diff_ids_;
    boost::json::array layers_;
};

// A new folder, gone with its owner.
class Scratch {
  public:
    Scratch();
    ~Scratch();
    Scratch(const Scratch&) = delete;
    Scratch& operator=(const Scratch&) = delete;
    const std::filesystem::path& path() const { return path_; }

  private:
    std::filesystem::path path_;
};

std::string slurp(const std::filesystem::path& file);
void spill(const std::filesystem::path& file, const std::string& text);

}  // namespace image_builder
