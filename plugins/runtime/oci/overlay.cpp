// SPDX-License-Identifier: Apache-2.0
#include "plugins/runtime/oci/overlay.hpp"

#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <gantry/status.hpp>
#include <gantry/view.hpp>
#include <string>

#include "plugins/runtime/monitored/files.hpp"

namespace oci {

namespace fs = std::filesystem;
using monitored::file_failed;

namespace {

// The root that the container sees has the owner and mode of the upper folder: they must be the image's, not what the
// daemon's umask made of them.
void make_upper(const fs::path& dir, const fs::path& top_layer) {
    const gantry::Fd fd(::open((dir / "upper").c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW));
    struct stat image {};
    if (!fd) file_failed("open", dir / "upper", errno);
    if (::stat(top_layer.c_str(), &image) != 0) file_failed("examine", top_layer, errno);
    if (::fchown(fd.get(), image.st_uid, image.st_gid) != 0 || ::fchmod(fd.get(), image.st_mode & 07777) != 0) {
        file_failed("set owner and mode of", dir / "upper", errno);
    }
}

}  // namespace

void mount_root(const fs::path& dir, const std::vector<fs::path>& layers) {
    for (const char* part : {"upper", "work", "rootfs", "l"}) {
        if (::mkdir((dir / part).c_str(), 0700) != 0) file_failed("make", dir / part, errno);
    }
    make_upper(dir, layers.back());
    // The options of a mount must fit one page: short links, reached through a descriptor, keep them short whatever
    // the state folder is called and however many layers there are.
    const gantry::Fd here(::open(dir.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
    if (!here) file_failed("open", dir, errno);
    const std::string base = "/proc/self/fd/" + std::to_string(here.get());
    std::string lower;
    for (std::size_t i = layers.size(); i-- > 0;) {
        const std::string link = "l/" + std::to_string(i);
        if (::symlinkat(layers[i].c_str(), here.get(), link.c_str()) != 0) file_failed("make", dir / link, errno);
        lower += (lower.empty() ? "" : ":") + base + "/" + link;
    }
    const std::string options = "lowerdir=" + lower + ",upperdir=" + base + "/upper,workdir=" + base + "/work";
    if (::mount("overlay", (dir / "rootfs").c_str(), "overlay", 0, options.c_str()) != 0) {
        throw gantry::Failure(gantry::Code::kFailed, std::string("overlayfs: ") + std::strerror(errno) + " mounting " +
                                                         std::to_string(layers.size()) + " layers at " +
                                                         (dir / "rootfs").string());
    }
}

void unmount_root(const fs::path& dir) {
    const fs::path root = dir / "rootfs";
    while (::umount2(root.c_str(), UMOUNT_NOFOLLOW) == 0) {
    }
    if (errno == EBUSY && ::umount2(root.c_str(), UMOUNT_NOFOLLOW | MNT_DETACH) == 0) return;
    if (errno != EINVAL && errno != ENOENT) file_failed("unmount", root, errno);
}

}  // namespace oci
