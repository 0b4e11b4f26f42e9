// SPDX-License-Identifier: Apache-2.0
#include "plugins/runtime/oci/network.hpp"

#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <array>
#include <boost/json.hpp>
#include <cerrno>
#include <cstring>
#include <optional>
#include <thread>

#include "plugins/runtime/monitored/files.hpp"
#include "plugins/runtime/monitored/process.hpp"

namespace oci {
namespace {

namespace fs = std::filesystem;
namespace json = boost::json;
using gantry::Code;
using gantry::Failure;
using gantry::Fd;

constexpr const char* kVersion = "0.4.0";  // of the CNI specification
constexpr std::size_t kMaxAnswer = 256 << 10;
constexpr const char* kPath = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

Fd memory_file(std::string_view text) {
    Fd file(::memfd_create("cni", MFD_CLOEXEC));
    if (!file || ::write(file.get(), text.data(), text.size()) != static_cast<ssize_t>(text.size()) ||
        ::lseek(file.get(), 0, SEEK_SET) != 0)
        throw Failure(Code::kFailed, std::string("cannot make a file in memory: ") + std::strerror(errno));
    return file;
}

std::string content(const Fd& file) {
    std::string out(kMaxAnswer, '\0');
    const ssize_t n = ::pread(file.get(), out.data(), out.size(), 0);
    out.resize(n > 0 ? static_cast<std::size_t>(n) : 0);
    return out;
}

// What a CNI plugin says of its failure: {"code": 7, "msg": "...", "details": "..."}.
std::string words(const std::string& answer, const std::string& errors) {
    json::error_code error;
    const json::value document = json::parse(answer, error);
    const json::object* object = error ? nullptr : document.if_object();
    std::string out;
    for (const char* key : {"msg", "details"}) {
        const json::value* part = object == nullptr ? nullptr : object->if_contains(key);
        if (part == nullptr || !part->is_string() || part->as_string().empty()) continue;
        out += (out.empty() ? "" : ": ") + std::string(part->as_string());
    }
    return !out.empty() ? out : !errors.empty() ? errors : "no reason given";
}

// A new network namespace, kept by a mount on `file`.
void make_space(const fs::path& file) {
    if (Fd made(::open(file.c_str(), O_RDONLY | O_CREAT | O_CLOEXEC, 0600)); !made)
        monitored::file_failed("make", file, errno);
    // Of a thread alone, which ends with it.
    int failed = 0;
    std::thread([&] {
        if (::unshare(CLONE_NEWNET) != 0 ||
            ::mount("/proc/thread-self/ns/net", file.c_str(), nullptr, MS_BIND, nullptr) != 0)
            failed = errno;
    }).join();
    if (failed != 0)
        throw Failure(Code::kFailed, std::string("cannot make a network namespace: ") + std::strerror(failed));
}

// After a reboot the file is there and holds nothing.
bool is_space(const fs::path& file) {
    struct statfs about {};
    return ::statfs(file.c_str(), &about) == 0 && about.f_type == NSFS_MAGIC;
}

bool is_free(std::uint16_t port, int type) {
    const Fd socket(::socket(AF_INET, type | SOCK_CLOEXEC, 0));
    const int yes = 1;
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    if (!socket) return true;
    if (type == SOCK_STREAM) (void)::setsockopt(socket.get(), SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes));
    return ::bind(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0 ||
           errno != EADDRINUSE;
}

json::object parsed(const fs::path& file) {
    json::error_code error;
    const json::value document = json::parse(monitored::read_file(file, kMaxAnswer).value_or(""), error);
    return error || !document.is_object() ? json::object() : document.as_object();
}

std::vector<std::uint16_t> ports_of(const json::object& record) {
    std::vector<std::uint16_t> out;
    if (const json::value* ports = record.if_contains("ports"); ports != nullptr && ports->is_array()) {
        for (const json::value& port : ports->as_array()) {
            if (port.is_int64()) out.push_back(static_cast<std::uint16_t>(port.as_int64()));
        }
    }
    return out;
}

}  // namespace

void Networks::check_programs(const std::string& name, bool ports) const {
    for (const char* plugin : {"loopback", "bridge", "host-local", "portmap"}) {
        const fs::path program = options_.cni / plugin;
        if (::access(program.c_str(), X_OK) == 0 || (!ports && std::string_view(plugin) == "portmap")) continue;
        throw Failure(Code::kInvalid, "container \"" + name + "\": network \"bridge\" needs the CNI plugin " +
                                          program.string() +
                                          ", which is not there; install it (apt-get install "
                                          "containernetworking-plugins) or set cni_path");
    }
}

void Networks::check_ports(const std::string& name, const std::vector<std::uint16_t>& ports) const {
    const auto refuse = [&](std::uint16_t port, const std::string& who) {
        throw Failure(Code::kConflict, "container \"" + name + "\": port " + std::to_string(port) +
                                           " of this node is in use by " + who +
                                           "; end that, or choose another port in the manifest");
    };
    for (const std::uint16_t port : ports) {
        if (!is_free(port, SOCK_STREAM) || !is_free(port, SOCK_DGRAM)) refuse(port, "another program");
    }
    for (const auto& item : fs::directory_iterator(options_.folder)) {
        if (item.path().extension() != ".json") continue;
        for (const std::uint16_t theirs : ports_of(parsed(item.path()))) {
            for (const std::uint16_t port : ports) {
                if (port == theirs) refuse(port, "container \"" + item.path().stem().string() + "\"");
            }
        }
    }
}

std::string Networks::loopback_config() const {
    return json::serialize(json::object{{"cniVersion", kVersion}, {"name", "gantry"}, {"type", "loopback"}});
}

std::string Networks::bridge_config() const {
    return json::serialize(
        json::object{{"cniVersion", kVersion},
                     {"name", "gantry"},
                     {"type", "bridge"},
                     {"bridge", options_.bridge},
                     {"isGateway", true},
                     {"ipMasq", true},
                     {"hairpinMode", true},
                     {"ipam",
                      {{"type", "host-local"},
                       {"dataDir", (options_.folder / "addresses").string()},
                       {"ranges", json::array{json::array{json::object{{"subnet", options_.subnet}}}}},
                       {"routes", json::array{json::object{{"dst", "0.0.0.0/0"}}}}}}});
}

std::string Networks::ports_config(const std::vector<std::uint16_t>& ports, const std::string& result) const {
    json::array mappings;
    for (const std::uint16_t port : ports) {
        for (const char* protocol : {"tcp", "udp"})
            mappings.push_back(json::object{{"hostPort", port}, {"containerPort", port}, {"protocol", protocol}});
    }
    json::object out{{"cniVersion", kVersion},
                     {"name", "gantry"},
                     {"type", "portmap"},
                     {"snat", true},
                     {"runtimeConfig", {{"portMappings", std::move(mappings)}}}};
    json::error_code error;
    const json::value before = json::parse(result, error);
    if (!error && before.is_object()) out["prevResult"] = before;
    return json::serialize(out);
}

std::string Networks::call(const std::string& name, const char* plugin, const char* command, const char* interface,
                           const std::string& config, gantry::Instant deadline) const {
    const Fd in = memory_file(config), out = memory_file("");
    monitored::Command program;
    program.argv = {(options_.cni / plugin).string()};
    program.env = {kPath,
                   std::string("CNI_COMMAND=") + command,
                   "CNI_CONTAINERID=" + name,
                   "CNI_NETNS=" + (is_space(space(name)) ? space(name).string() : ""),
                   std::string("CNI_IFNAME=") + interface,
                   "CNI_PATH=" + options_.cni.string()};
    program.fds = {{0, in.get()}, {1, out.get()}};
    const monitored::Outcome outcome = monitored::run(program, deadline);
    const std::string answer = content(out);
    if (outcome.code != 0)
        throw Failure(Code::kFailed, "container \"" + name + "\": the CNI plugin " + plugin + " (" + command +
                                         "): " + words(answer, outcome.errors));
    return answer;
}

std::string Networks::add(const std::string& name, const std::vector<std::uint16_t>& ports, gantry::Instant deadline) {
    const std::lock_guard lock(one_);
    check_programs(name, !ports.empty());
    std::error_code error;
    fs::create_directories(options_.folder, error);
    if (error) monitored::file_failed("make", options_.folder, error.value());
    check_ports(name, ports);
    json::object record{{"ports", json::array(ports.begin(), ports.end())}};
    monitored::replace_file(this->record(name), json::serialize(record));
    make_space(space(name));
    (void)call(name, "loopback", "ADD", "lo", loopback_config(), deadline);
    const std::string result = call(name, "bridge", "ADD", "eth0", bridge_config(), deadline);
    record["result"] = result;
    monitored::replace_file(this->record(name), json::serialize(record));
    if (!ports.empty()) (void)call(name, "portmap", "ADD", "eth0", ports_config(ports, result), deadline);
    return space(name).string();
}

void Networks::remove(const std::string& name, gantry::Instant deadline) {
    const std::lock_guard lock(one_);
    if (!fs::exists(record(name))) return;
    const json::object kept = parsed(record(name));
    const json::value* result = kept.if_contains("result");
    const std::vector<std::uint16_t> ports = ports_of(kept);
    if (!ports.empty())
        (void)call(name, "portmap", "DEL", "eth0",
                   ports_config(ports, result != nullptr ? std::string(result->as_string()) : ""), deadline);
    (void)call(name, "bridge", "DEL", "eth0", bridge_config(), deadline);
    // The interfaces end with the last of the namespace.
    (void)::umount2(space(name).c_str(), MNT_DETACH);
    std::error_code error;
    fs::remove(space(name), error);
    if (!error) fs::remove(record(name), error);
    if (error) monitored::file_failed("delete", space(name), error.value());
}

}  // namespace oci
