// SPDX-License-Identifier: Apache-2.0
//
// What makes a gateway part of a cluster: its configuration, the cluster's secret, and nothing left of the cluster
// before.
#include <fcntl.h>
#include <openssl/rand.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <utility>

#include "kernel/cli/commands.hpp"
#include "kernel/cli/digest.hpp"

namespace gantry::cli {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kSecretMin = 16, kSecretMax = 4096;  // bytes, as transport/vsoa wants them
constexpr std::string_view kMark = "# Written by `gantry cluster`; replaced by it only while unchanged: ";

// What every gateway has, then what a controller has, then where a plain node finds it.
constexpr const char* kNode = R"(#
# This gateway's gantryd. Every key: man gantry.toml. Check a change with `gantryd --check`, apply it with `gantry reload`.

[node]                            # runs containers
# name = "press-3"                # unique in the cluster; the host's name if not given
# labels = { site = "hall-1" }    # manifests may choose nodes by them
# advertise = "10.0.0.7"          # the address that names answer, if not the one towards the controller

[runtime.oci]                     # containers, by runc under conmon
@ENGINE@
[probe.tcp]
[probe.vsoa]

[transport.vsoa]                  # what gateways say to each other, encrypted
secret_file = "@SECRET@"

[directory.vsoa]                  # answers names on port 54

[frontend.http]                   # what the command line `gantry` talks to
)";
constexpr const char* kController = R"(
[controller]                      # decides for the cluster
listen = "@ADDRESS@"

[placement.least-loaded]

[store.sqlite]
path = "/var/lib/gantry/state.db"
)";
constexpr const char* kAgent = R"(
[discovery.static]                # where the controller is
controllers = ["@ADDRESS@"]
)";

std::unexpected<Trouble> failed(const std::string& what) {
    return trouble(exit_status::kFailed, Code::kFailed, what + ": " + std::strerror(errno));
}

Outcome<std::string> read_file(const std::string& path, std::size_t most) {
    std::ifstream file(path, std::ios::binary);
    if (!file) return failed("cannot read " + path);
    std::string out(most + 1, '\0');
    file.read(out.data(), static_cast<std::streamsize>(out.size()));
    out.resize(static_cast<std::size_t>(file.gcount()));
    if (out.size() > most)
        return trouble(exit_status::kFailed, Code::kFull, path + " has more than " + std::to_string(most) + " bytes");
    return out;
}

// What is to replace a file, written beside it and safe there also when the power goes. Unless it is put in its place
// it goes with the object.
class Draft {
  public:
    static Outcome<Draft> write(const std::string& path, std::string_view text, mode_t mode) {
        std::error_code error;
        fs::create_directories(fs::path(path).parent_path(), error);
        if (error)
            return trouble(exit_status::kFailed, Code::kFailed,
                           "cannot make the folder of " + path + ": " + error.message());
        Draft out(path);
        const int fd = ::open(out.part().c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, mode);
        if (fd < 0) return failed("cannot write " + out.part());
        const bool written = ::fchmod(fd, mode) == 0 &&
                             ::write(fd, text.data(), text.size()) == static_cast<ssize_t>(text.size()) &&
                             ::fsync(fd) == 0;
        const int why = errno;
        ::close(fd);
        errno = why;
        if (!written) return failed("cannot write " + path);
        return out;
    }

    Draft(Draft&& from) noexcept : path_(std::exchange(from.path_, {})) {}
    Draft& operator=(Draft&&) = delete;
    ~Draft() {
        if (!path_.empty()) ::unlink(part().c_str());
    }

    Outcome<void> put() {
        if (::rename(part().c_str(), path_.c_str()) != 0) return failed("cannot write " + path_);
        path_.clear();
        return {};
    }

  private:
    explicit Draft(std::string path) : path_(std::move(path)) {}
    std::string part() const { return path_ + ".new"; }

    std::string path_;
};

std::string marked(const std::string& text) {
    Sha256 sum;
    sum.add(text.data(), text.size());
    return std::string(kMark) + short_digest(sum.digest()) + "\n" + text;
}

// Whether nobody changed it since it was written here.
bool unchanged(const std::string& text) {
    const auto end = text.find('\n');
    return text.starts_with(kMark) && end != text.npos && marked(text.substr(end + 1)) == text;
}

Outcome<void> may_replace(const ClusterOptions& options, const std::string& instead) {
    if (options.force || !fs::exists(options.config)) return {};
    GANTRY_TRY(have, read_file(options.config, 1 << 20));
    if (unchanged(have)) return {};
    return trouble(exit_status::kFailed, Code::kExists,
                   options.config + " was written or changed by hand: " + instead +
                       ", or give --force (the old one stays beside it, with .old at its end)");
}

Outcome<Draft> draft_config(const ClusterOptions& options, const std::string& text) {
    std::error_code ignored;
    if (options.force && fs::exists(options.config))
        fs::copy_file(options.config, options.config + ".old", fs::copy_options::overwrite_existing, ignored);
    return Draft::write(options.config, marked(text), 0644);
}

std::string secret_path(const ClusterOptions& options) {
    return (fs::path(options.config).parent_path() / "cluster.secret").string();
}

Outcome<void> make_secret(const std::string& path) {
    if (fs::exists(path)) return {};
    unsigned char bytes[32];
    if (RAND_bytes(bytes, sizeof bytes) != 1)
        return trouble(exit_status::kFailed, Code::kFailed, "this machine gives no random numbers");
    std::string text;
    for (const unsigned char byte : bytes) {
        text += "0123456789abcdef"[byte >> 4];
        text += "0123456789abcdef"[byte & 15];
    }
    GANTRY_TRY(draft, Draft::write(path, text + "\n", 0600));
    return draft.put();
}

std::string filled(std::string text, std::string_view place, const std::string& with) {
    return text.replace(text.find(place), place.size(), with);
}

std::string node_text(const ClusterOptions& options) {
    const std::string engine = options.engine.empty() ? "" : "engine = \"" + options.engine + "\"\n";
    return filled(filled(kNode, "@ENGINE@", engine), "@SECRET@", secret_path(options));
}

bool under_systemd() { return fs::exists("/run/systemd/system"); }

void say_next(const Session& session, const ClusterOptions& options) {
    session.say_line(options.config +
                     " is written. Now: " + (under_systemd() ? "systemctl restart gantryd" : "start gantryd anew"));
}

}  // namespace

Outcome<int> cluster_init(const Session& session, const ClusterOptions& options) {
    const std::string listen = options.local ? "127.0.0.1:3900" : options.address;
    if (auto ok = may_replace(options, "set `listen = \"" + listen + "\"` below [controller] there"); !ok)
        return std::unexpected(ok.error());
    const std::string secret = secret_path(options);
    if (auto ok = make_secret(secret); !ok) return std::unexpected(ok.error());
    GANTRY_TRY(config, draft_config(options, node_text(options) + filled(kController, "@ADDRESS@", listen)));
    if (auto ok = config.put(); !ok) return std::unexpected(ok.error());
    if (session.json()) {
        session.show(json::object{{"config", options.config}, {"secret_file", secret}, {"listen", listen}});
        return exit_status::kOk;
    }
    say_next(session, options);
    if (options.local) return exit_status::kOk;
    const auto port = listen.substr(listen.rfind(':'));
    session.say_line("Every other gateway needs a copy of " + secret + ", and joins by");
    session.say_line("  gantry join ADDRESS-OF-THIS-GATEWAY" + port + " --secret-file cluster.secret");
    return exit_status::kOk;
}

Outcome<int> cluster_join(const Session& session, const ClusterOptions& options) {
    if (session.get("/v1/cluster"))
        return trouble(exit_status::kFailed, Code::kConflict,
                       std::string("gantryd runs here: stop it first (") +
                           (under_systemd() ? "systemctl stop gantryd" : "SIGTERM") + "; containers go on), then join");
    GANTRY_TRY(secret, read_file(options.secret_file, kSecretMax));
    if (secret.size() < kSecretMin)
        return trouble(exit_status::kFailed, Code::kInvalid,
                       options.secret_file + ": expected a cluster's secret of at least " + std::to_string(kSecretMin) +
                           " bytes, got " + std::to_string(secret.size()));
    if (auto ok = may_replace(options, "remove [controller] there and name the controller in [discovery.static]"); !ok)
        return std::unexpected(ok.error());
    // Both files can be written before either is replaced, and the state stays until they are.
    GANTRY_TRY(new_secret, Draft::write(secret_path(options), secret, 0600));
    GANTRY_TRY(new_config, draft_config(options, node_text(options) + filled(kAgent, "@ADDRESS@", options.address)));
    if (auto ok = new_config.put(); !ok) return std::unexpected(ok.error());
    if (auto ok = new_secret.put(); !ok) return std::unexpected(ok.error());
    // What binds this node to the cluster that it was in; its identity stays.
    const fs::path state = options.state_dir, aside = state / "before-join";
    std::error_code error;
    for (const char* name : {"agent.json", "state.db", "state.db-wal", "state.db-shm"}) {
        if (!fs::exists(state / name)) continue;
        fs::create_directories(aside, error);
        fs::rename(state / name, aside / name, error);
        if (error)
            return trouble(exit_status::kFailed, Code::kFailed,
                           "cannot move " + (state / name).string() + " to " + aside.string() + ": " + error.message() +
                               "; this gateway is configured for its new cluster: mend that, then join again");
    }
    if (session.json()) {
        session.show(json::object{{"config", options.config}, {"controller", options.address}});
        return exit_status::kOk;
    }
    say_next(session, options);
    session.say_line("Then `gantry nodes` on the controller lists this gateway.");
    return exit_status::kOk;
}

}  // namespace gantry::cli
