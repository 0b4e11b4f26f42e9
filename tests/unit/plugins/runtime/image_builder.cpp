// SPDX-License-Identifier: Apache-2.0
#include "tests/unit/plugins/runtime/image_builder.hpp"

#include <archive.h>
#include <archive_entry.h>
#include <locale.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <memory>
#include <sstream>
#include <stdexcept>

#include "plugins/runtime/image-store/digest.hpp"
#include "plugins/runtime/image-store/layout.hpp"

namespace image_builder {
namespace {

namespace fs = std::filesystem;
namespace json = boost::json;

using Writer = std::unique_ptr<archive, int (*)(archive*)>;

la_ssize_t append(archive*, void* to, const void* data, std::size_t len) {
    static_cast<std::string*>(to)->append(static_cast<const char*>(data), len);
    return static_cast<la_ssize_t>(len);
}

void check(int status, archive* writer) {
    if (status != ARCHIVE_OK) throw std::runtime_error(archive_error_string(writer));
}

std::string media_type(Packing packing) {
    const std::string base = "application/vnd.oci.image.layer.v1.tar";
    return packing == Packing::kGzip ? base + "+gzip" : packing == Packing::kZstd ? base + "+zstd" : base;
}

}  // namespace

std::string tar(const std::vector<Item>& items) {
    // Names become UTF-8 in the header; libarchive asks the locale what they are.
    static const locale_t utf8 = ::newlocale(LC_CTYPE_MASK, "C.UTF-8", nullptr);
    ::uselocale(utf8);
    std::string out;
    const Writer writer(archive_write_new(), &archive_write_free);
    archive_write_set_format_pax_restricted(writer.get());
    archive_write_set_bytes_in_last_block(writer.get(), 1);
    check(archive_write_open(writer.get(), &out, nullptr, &append, nullptr), writer.get());
    for (const Item& item : items) {
        const std::unique_ptr<archive_entry, void (*)(archive_entry*)> entry(archive_entry_new(), &archive_entry_free);
        archive_entry_set_pathname(entry.get(), item.path.c_str());
        archive_entry_set_perm(entry.get(), item.permissions);
        archive_entry_set_uid(entry.get(), item.uid);
        archive_entry_set_gid(entry.get(), item.gid);
        archive_entry_set_rdev(entry.get(), item.device);
        for (const auto& [key, value] : item.xattrs) {
            archive_entry_xattr_add_entry(entry.get(), key.c_str(), value.data(), value.size());
        }
        archive_entry_set_mtime(entry.get(), 1700000000, 0);
        const bool data = item.type == S_IFREG && !item.hard_link;
        if (item.hard_link) archive_entry_set_hardlink(entry.get(), item.content.c_str());
        archive_entry_set_filetype(entry.get(), item.type);
        if (item.type == S_IFLNK) archive_entry_set_symlink(entry.get(), item.content.c_str());
        archive_entry_set_size(entry.get(), data ? static_cast<la_int64_t>(item.content.size()) : 0);
        check(archive_write_header(writer.get(), entry.get()), writer.get());
        if (data) archive_write_data(writer.get(), item.content.data(), item.content.size());
    }
    check(archive_write_close(writer.get()), writer.get());
    return out;
}

std::string pack(const std::string& bytes, Packing packing) {
    if (packing == Packing::kPlain) return bytes;
    std::string out;
    const Writer writer(archive_write_new(), &archive_write_free);
    archive_write_set_format_raw(writer.get());
    if (packing == Packing::kGzip) archive_write_add_filter_gzip(writer.get());
    if (packing == Packing::kZstd) archive_write_add_filter_zstd(writer.get());
    archive_write_set_bytes_in_last_block(writer.get(), 1);
    check(archive_write_open(writer.get(), &out, nullptr, &append, nullptr), writer.get());
    const std::unique_ptr<archive_entry, void (*)(archive_entry*)> entry(archive_entry_new(), &archive_entry_free);
    archive_entry_set_filetype(entry.get(), AE_IFREG);
    check(archive_write_header(writer.get(), entry.get()), writer.get());
    archive_write_data(writer.get(), bytes.data(), bytes.size());
    check(archive_write_close(writer.get()), writer.get());
    return out;
}

std::string sha256(const std::string& bytes) {
    image_store::Sha256 hash;
    hash.add(bytes.data(), bytes.size());
    return hash.finish().text();
}

Layout::Layout(fs::path dir) : architecture(image_store::machine_architecture()), dir_(std::move(dir)) {
    fs::create_directories(dir_ / "blobs" / "sha256");
    spill(dir_ / "oci-layout", R"({"imageLayoutVersion":"1.0.0"})");
}

fs::path Layout::blob(const std::string& digest) const { return dir_ / "blobs" / "sha256" / digest.substr(7); }

std::string Layout::put(const std::string& bytes) {
    const std::string digest = sha256(bytes);
    spill(blob(digest), bytes);
    return digest;
}

void Layout::layer(const std::vector<Item>& items, Packing packing) {
    const std::string plain = tar(items);
    layer_bytes(pack(plain, packing), sha256(plain), packing);
}

void Layout::layer_bytes(const std::string& bytes, const std::string& tar_digest, Packing packing) {
    const std::string digest = put(bytes);
    digests_.push_back(digest);
    diff_ids_.push_back(tar_digest);
    layers_.push_back(json::object{{"mediaType", media_type(packing)}, {"digest", digest}, {"size", bytes.size()}});
}

std::string Layout::finish() {
    const std::string config_text = json::serialize(json::object{
        {"architecture", architecture},
        {"os", system},
        {"config", config},
        {"rootfs", json::object{{"type", "layers"}, {"diff_ids", json::array(diff_ids_.begin(), diff_ids_.end())}}}});
    const json::object config_ref{{"mediaType", "application/vnd.oci.image.config.v1+json"},
                                  {"digest", put(config_text)},
                                  {"size", config_text.size()}};
    const std::string manifest =
        json::serialize(json::object{{"schemaVersion", 2}, {"config", config_ref}, {"layers", layers_}});
    const std::string digest = put(manifest);
    write_index(digest, manifest.size());
    return digest;
}

std::string Layout::finish_as_index() {
    const std::string manifest = finish();
    const json::object here{{"digest", manifest},
                            {"size", fs::file_size(blob(manifest))},
                            {"platform", json::object{{"os", "linux"}, {"architecture", architecture}}}};
    const json::object foreign{{"digest", sha256("foreign")},
                               {"size", 7},
                               {"platform", json::object{{"os", "linux"}, {"architecture", "sparc64"}}}};
    const std::string index =
        json::serialize(json::object{{"schemaVersion", 2}, {"manifests", json::array{foreign, here}}});
    const std::string digest = put(index);
    write_index(digest, index.size());
    return digest;
}

void Layout::write_index(const std::string& digest, std::size_t size) {
    spill(dir_ / "index.json",
          json::serialize(json::object{{"schemaVersion", 2},
                                       {"manifests", json::array{json::object{{"digest", digest}, {"size", size}}}}}));
}

Scratch::Scratch() {
    std::string name = (fs::temp_directory_path() / "gantry-test-").string() + std::string(6, 'X');
    if (::mkdtemp(name.data()) == nullptr) throw std::runtime_error("mkdtemp failed");
    path_ = name;
}

Scratch::~Scratch() {
    std::error_code error;
    fs::remove_all(path_, error);
}

std::string slurp(const fs::path& file) {
    std::ostringstream text;
    text << std::ifstream(file).rdbuf();
    return text.str();
}

void spill(const fs::path& file, const std::string& text) { std::ofstream(file, std::ios::trunc) << text; }

}  // namespace image_builder
