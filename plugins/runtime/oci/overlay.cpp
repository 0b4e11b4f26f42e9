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

void mount_root(const fs::path& dir, const std::vector<fs::path>& layers) {
    for (const char* part : {"upper", "work", "rootfs", "l"}) {
        if (::mkdir((dir / part).c_str(),
                    part == std::string_view("work") || part == std::string_view("l") ? 0700 : 0755) != 0) {
            file_failed("make", dir / part, errno);
        }
    }
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
