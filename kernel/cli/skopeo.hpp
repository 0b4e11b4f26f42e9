// SPDX-License-Identifier: Apache-2.0
//
// Registries, asked through Debian's `skopeo`: it knows their protocol, credentials, mirrors, TLS and signatures, and
// reads the configuration that podman and others share (containers-registries.conf(5), containers-auth.json(5),
// containers-certs.d(5), containers-policy.json(5)). docs/adr/0018-registries-are-asked-by-the-command-line.md
#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "kernel/cli/reference.hpp"
#include "kernel/cli/socket.hpp"

namespace gantry::cli {

struct RegistryOptions {
    std::string auth_file;        // credentials; empty: skopeo's own places
    std::string certificates;     // a folder with ca.crt, client.cert, client.key; empty: the system's
    std::string registries_file;  // mirrors and registries without TLS; empty: skopeo's own places
    bool verify_tls = true;       // false: any certificate, or none at all
    std::string timeout = "1m";   // so long a registry may send nothing
};

class Skopeo {
  public:
    // Errors: kUsage (the timeout).
    static Outcome<Skopeo> with(const RegistryOptions& options);

    // The manifest or index as the registry has it, at most 4 MiB. Errors: kNotFound (no such image), kNotReady
    // (nothing came for the timeout), kFailed with skopeo's words.
    Outcome<std::string> manifest(const Reference& image) const;
    // Every tag of the image's name. Errors: the same, kBadData.
    Outcome<std::vector<std::string>> tags(const Reference& image) const;
    // Copies the image, byte for byte, into an empty folder: manifest.json, and each blob named by its digest without
    // "sha256:". received gets the bytes in the folder now and then.
    Outcome<bool> copy(const Reference& image, const std::filesystem::path& folder,
                       const std::function<void(std::int64_t received)>& received) const;

  private:
    // What asks without copying: "inspect", "list-tags".
    std::vector<std::string> asking(const std::string& command) const;
    Outcome<std::string> run(std::vector<std::string> arguments, const Reference& image,
                             const std::function<std::int64_t()>& progress) const;

    RegistryOptions options_;
    milliseconds silence_{};
};

}  // namespace gantry::cli
