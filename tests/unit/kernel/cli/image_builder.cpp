// SPDX-License-Identifier: Apache-2.0
#include "tests/unit/kernel/cli/image_builder.hpp"

#include <archive.h>
#include <archive_entry.h>

#include <fstream>
#include <iterator>
#include <memory>

#include "kernel/cli/digest.hpp"

namespace gantry::cli {

namespace fs = std::filesystem;

void write_file(const fs::path& file, const std::string& content) { std::ofstream(file, std::ios::binary) << content; }

std::string read_file(const fs::path& file) {
    std::ifstream in(file, std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
}

std::string tar_of(const std::vector<TarEntry>& entries, bool gzip) {
    std::string out;
    const std::unique_ptr<archive, int (*)(archive*)> tar(archive_write_new(), archive_write_free);
    archive_write_set_format_pax_restricted(tar.get());
    if (gzip) archive_write_add_filter_gzip(tar.get());
    archive_write_set_bytes_in_last_block(tar.get(), 1);  // nothing after the archive's end
    const auto take = [](archive*, void* into, const void* bytes, std::size_t size) -> la_ssize_t {
        static_cast<std::string*>(into)->append(static_cast<const char*>(bytes), size);
        return static_cast<la_ssize_t>(size);
    };
    archive_write_open(tar.get(), &out, nullptr, take, nullptr);
    for (const auto& entry : entries) {
        const std::unique_ptr<archive_entry, void (*)(archive_entry*)> header(archive_entry_new(), archive_entry_free);
        archive_entry_set_pathname(header.get(), entry.name.c_str());
        archive_entry_set_perm(header.get(), 0755);
        const bool file = entry.kind == TarEntry::kFile;
        archive_entry_set_filetype(header.get(), entry.kind == TarEntry::kFolder         ? AE_IFDIR
                                                 : entry.kind == TarEntry::kSymbolicLink ? AE_IFLNK
                                                                                         : AE_IFREG);
        if (entry.kind == TarEntry::kSymbolicLink) archive_entry_set_symlink(header.get(), entry.content.c_str());
        if (entry.kind == TarEntry::kHardLink) archive_entry_set_hardlink(header.get(), entry.content.c_str());
        archive_entry_set_size(header.get(), file ? static_cast<la_int64_t>(entry.content.size()) : 0);
        archive_write_header(tar.get(), header.get());
        if (file) archive_write_data(tar.get(), entry.content.data(), entry.content.size());
    }
    archive_write_close(tar.get());
    return out;
}

std::string bzip2_of(const std::string& content) {
    std::string out(content.size() + 4096, '\0');
    std::size_t used = 0;
    const std::unique_ptr<archive, int (*)(archive*)> raw(archive_write_new(), archive_write_free);
    archive_write_set_format_raw(raw.get());
    archive_write_add_filter_bzip2(raw.get());
    archive_write_open_memory(raw.get(), out.data(), out.size(), &used);
    const std::unique_ptr<archive_entry, void (*)(archive_entry*)> header(archive_entry_new(), archive_entry_free);
    archive_entry_set_filetype(header.get(), AE_IFREG);
    archive_write_header(raw.get(), header.get());
    archive_write_data(raw.get(), content.data(), content.size());
    archive_write_close(raw.get());
    out.resize(used);
    return out;
}

std::string unpacked(const std::string& layer) {
    const std::unique_ptr<archive, int (*)(archive*)> raw(archive_read_new(), archive_read_free);
    archive_read_support_format_raw(raw.get());
    archive_read_support_filter_all(raw.get());
    archive_entry* entry = nullptr;
    std::string out, piece(64 << 10, '\0');
    if (archive_read_open_memory(raw.get(), layer.data(), layer.size()) != ARCHIVE_OK) return out;
    if (archive_read_next_header(raw.get(), &entry) != ARCHIVE_OK) return out;
    for (la_ssize_t n = 0; (n = archive_read_data(raw.get(), piece.data(), piece.size())) > 0;)
        out.append(piece, 0, static_cast<std::size_t>(n));
    return out;
}

LayoutBuilder::LayoutBuilder(fs::path folder) : folder_(std::move(folder)) {
    fs::create_directories(folder_ / "blobs/sha256");
    write_file(folder_ / "oci-layout", R"({"imageLayoutVersion":"1.0.0"})");
}

fs::path LayoutBuilder::blob(const json::object& descriptor) const {
    return folder_ / "blobs/sha256" / std::string(descriptor.at("digest").as_string()).substr(7);
}

json::object LayoutBuilder::add_blob(const std::string& content, const std::string& type) {
    Sha256 sum;
    sum.add(content.data(), content.size());
    json::object descriptor{{"mediaType", type}, {"digest", sum.digest()}, {"size", content.size()}};
    write_file(blob(descriptor), content);
    return descriptor;
}

json::object LayoutBuilder::add_image(const std::string& layer, const std::string& name,
                                      const std::string& architecture) {
    Sha256 sum;
    const auto tar = unpacked(layer);
    sum.add(tar.data(), tar.size());
    const json::object config{
        {"os", "linux"},
        {"architecture", architecture},
        {"rootfs", json::object{{"type", "layers"}, {"diff_ids", json::array{json::string(sum.digest())}}}}};
    return add_manifest(add_blob(to_text(config), "application/vnd.oci.image.config.v1+json"), layer, name,
                        architecture);
}

json::object LayoutBuilder::add_manifest(const json::object& config, const std::string& layer, const std::string& name,
                                         const std::string& architecture) {
    const json::object manifest{
        {"schemaVersion", 2},
        {"config", config},
        {"layers", json::array{add_blob(layer, "application/vnd.oci.image.layer.v1.tar+gzip")}},
    };
    auto descriptor = add_blob(to_text(manifest), "application/vnd.oci.image.manifest.v1+json");
    if (!name.empty()) descriptor["annotations"] = json::object{{"org.opencontainers.image.ref.name", name}};
    descriptor["platform"] = json::object{{"os", "linux"}, {"architecture", architecture}};
    return descriptor;
}

void LayoutBuilder::finish() const {
    write_file(folder_ / "index.json", to_text(json::object{{"schemaVersion", 2}, {"manifests", manifests_}}));
}

void LayoutBuilder::pack(const fs::path& file, bool gzip) const {
    std::vector<TarEntry> entries;
    for (const auto& item : fs::recursive_directory_iterator(folder_)) {
        if (item.is_regular_file())
            entries.push_back({"./" + fs::relative(item.path(), folder_).string(), read_file(item.path())});
    }
    write_file(file, tar_of(entries, gzip));
}

}  // namespace gantry::cli
