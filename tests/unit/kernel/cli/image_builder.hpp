// SPDX-License-Identifier: Apache-2.0
//
// Makes OCI image layouts, good ones and ones that no tool would make.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "kernel/base/json.hpp"

namespace gantry::cli {

struct TarEntry {
    enum Kind { kFile, kFolder, kSymbolicLink, kHardLink };
    std::string name;
    std::string content{};  // or the link's target
    Kind kind = kFile;
};
std::string tar_of(const std::vector<TarEntry>& entries, bool gzip);
std::string bzip2_of(const std::string& content);
// A layer without its compression.
std::string unpacked(const std::string& layer);

class LayoutBuilder {
  public:
    explicit LayoutBuilder(std::filesystem::path folder);
    // Stores it and answers its descriptor.
    json::object add_blob(const std::string& content, const std::string& type);
    // An image of one layer; name: its annotation, none if empty. Answers the descriptor that index.json gets.
    json::object add_image(const std::string& layer, const std::string& name,
                           const std::string& architecture = "amd64");
    // The same with a configuration that is there already.
    json::object add_manifest(const json::object& config, const std::string& layer, const std::string& name,
                              const std::string& architecture = "amd64");
    void add_to_index(json::object descriptor) { manifests_.push_back(std::move(descriptor)); }
    // Writes index.json.
    void finish() const;
    // The finished folder as one tar file.
    void pack(const std::filesystem::path& file, bool gzip) const;

    std::filesystem::path blob(const json::object& descriptor) const;
    std::filesystem::path folder() const { return folder_; }

  private:
    std::filesystem::path folder_;
    json::array manifests_;
};

void write_file(const std::filesystem::path& file, const std::string& content);
std::string read_file(const std::filesystem::path& file);

}  // namespace gantry::cli
