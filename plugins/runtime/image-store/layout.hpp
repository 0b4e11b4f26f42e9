// SPDX-License-Identifier: Apache-2.0
//
// Reads what an OCI image layout says about one image: which layers, what to run.
// https://github.com/opencontainers/image-spec v1.0; Docker's schema 2 manifests have the same members.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "plugins/runtime/image-store/digest.hpp"

namespace image_store {

struct ImageConfig {
    std::vector<std::string> entrypoint, cmd, env;  // env: "NAME=value"
    std::string cwd, user, architecture, system;
    int stop_signal = 0;  // number, 0: not said
};

struct LayerRef {
    Digest digest;   // of the blob
    Digest diff_id;  // of the tar within
    long long size;  // of the blob
};

struct ImageDescription {
    std::vector<LayerRef> layers;  // lowest first
    ImageConfig config;
    std::string config_digest;  // of its blob; empty in a description that was stored
};

// "amd64", "arm64": this machine, in the words of OCI.
std::string_view machine_architecture();

// What an image is made for.
struct Platform {
    std::string system = "linux";
    std::string architecture = std::string(machine_architecture());
};

// Reads and verifies the manifest with this digest (an index leads to the manifest of the platform) and the
// configuration it names. Layers are not opened. Throws Failure(kInvalid) for everything that is wrong with the image,
// a foreign system or architecture included.
ImageDescription read_layout(const std::filesystem::path& layout_dir, const Digest& manifest,
                             const Cancelled& cancelled, const Platform& platform = {});
// What a configuration's document says. Throws Failure(kInvalid), a foreign system or architecture included.
ImageConfig parse_config(std::string_view document, const std::string& what, const Platform& platform = {});

// <layout>/blobs/sha256/<hex>
std::filesystem::path blob_path(const std::filesystem::path& layout_dir, const Digest& digest);

// "SIGTERM", "TERM", "15" -> 15; 0 if it is none. Real-time signals: "SIGRTMIN+3".
int parse_signal(std::string_view text);

// The same description as one JSON document, and back; read throws Failure(kInvalid).
std::string write_description(const ImageDescription& image);
ImageDescription parse_description(std::string_view document);

}  // namespace image_store
