// SPDX-License-Identifier: Apache-2.0
//
// Writes the entries of a layer below one directory and never outside it, whatever the entries say: every component
// is opened without following links, a path that climbs or passes through a link of the same layer is refused.
//
// Two forms: kOverlay keeps each layer in a directory of its own with the marks that overlayfs understands (needs
// root); kFlat lays all layers of an image over each other in one directory.
#pragma once

#include <sys/stat.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <gantry/view.hpp>
#include <string>
#include <string_view>
#include <unordered_set>
#include <utility>
#include <vector>

namespace image_store {

// More entries of one layer are refused.
inline constexpr std::size_t kMaxEntries = 500'000;

enum class TreeForm { kOverlay, kFlat };

struct TreeEntry {
    std::string path;  // as written in the layer
    std::string link;  // target of a symbolic or hard link
    mode_t type = 0;   // S_IFREG, S_IFDIR ...; ignored for a hard link
    mode_t permissions = 0;
    uid_t uid = 0;
    gid_t gid = 0;
    dev_t device = 0;
    std::int64_t size = 0;
    timespec mtime{};
    bool hard_link = false;
    std::vector<std::pair<std::string, std::string>> xattrs;
};

// Gives the content of a regular file: calls its argument with (data, length, offset) in order of offsets.
using Content = std::function<void(const std::function<void(const void*, std::size_t, std::int64_t)>&)>;

// One thread at a time. Throws Failure: kInvalid for a hostile or broken entry, kFull when the disk is, else kFailed;
// the text names the layer and the entry.
class TreeWriter {
  public:
    // root: an open directory. keep_owners: uid, gid, device nodes and file capabilities as in the layer (root only);
    // else everything belongs to the caller and he can always write it.
    TreeWriter(gantry::Fd root, TreeForm form, bool keep_owners);

    // Entries until finish_layer() belong to the layer called `name` in messages.
    void begin_layer(std::string name);
    void add(const TreeEntry& entry, const Content& content);
    void finish_layer();

  private:
    struct Place {
        int parent = -1;   // borrowed from parent_fd_ or root_
        std::string name;  // empty: the root itself
        std::string path;  // normal form
    };
    struct Folder {
        std::string path;
        mode_t permissions;
        uid_t uid;
        gid_t gid;
        timespec mtime;
    };

    std::vector<std::string> components(const std::string& path, std::string_view what) const;
    Place place(const std::string& path, std::string_view what, bool make_parents);
    gantry::Fd enter(int parent, const std::string& name, const std::string& path, bool make);
    void hide_lower(int folder, const std::string& path) const;  // kOverlay
    void whiteout(const Place& at);
    void opaque(const Place& at);
    void folder(const Place& at, const TreeEntry& entry);
    void file(const Place& at, const TreeEntry& entry, const Content& content);
    void symbolic_link(const Place& at, const TreeEntry& entry);
    void hard_link(const Place& at, const TreeEntry& entry);
    void node(const Place& at, const TreeEntry& entry);
    void own_link(const Place& at, const TreeEntry& entry);
    void set_xattrs(int fd, const TreeEntry& entry);
    void clear(const Place& at);
    void remove_tree(int parent, const std::string& name, const std::string& path, bool keep_made);
    void remember(const std::string& path);
    bool made_here(const std::string& path) const;

    [[noreturn]] void refuse(std::string_view path, const std::string& why) const;
    [[noreturn]] void failed(std::string_view path, const char* what) const;

    gantry::Fd root_;
    TreeForm form_;
    bool keep_owners_;
    std::string layer_;
    std::string parent_path_;  // of parent_fd_
    gantry::Fd parent_fd_;
    std::vector<Folder> folders_;
    std::unordered_set<std::string> made_;  // kFlat: by this layer
    std::size_t entries_ = 0;
};

}  // namespace image_store
