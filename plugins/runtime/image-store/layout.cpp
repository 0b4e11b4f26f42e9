// SPDX-License-Identifier: Apache-2.0
#include "plugins/runtime/image-store/layout.hpp"

#include <sys/utsname.h>
#include <unistd.h>

#include <array>
#include <boost/json.hpp>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <fstream>
#include <gantry/status.hpp>
#include <sstream>

namespace image_store {
namespace {

namespace json = boost::json;
using gantry::Code;
using gantry::Failure;

constexpr long long kMaxDocument = 4 << 20;  // bytes of a manifest or configuration
constexpr std::size_t kMaxLayers = 127;      // what fits the options of one overlay mount
constexpr int kMaxIndexDepth = 3;            // an index may name an index

[[noreturn]] void refuse(const std::string& what) { throw Failure(Code::kInvalid, what); }

json::object parse_object(std::string_view text, const std::string& what) {
    json::error_code error;
    json::parse_options options;
    options.max_depth = 32;
    json::value value = json::parse(text, error, {}, options);
    if (error) refuse(what + " is not JSON: " + error.message());
    if (!value.is_object()) refuse(what + " must be a JSON object");
    return std::move(value.as_object());
}

// Members may be absent or null; of another type they are refused.
const json::value* member(const json::object& object, std::string_view key) {
    const json::value* found = object.if_contains(key);
    return found == nullptr || found->is_null() ? nullptr : found;
}

std::string text_of(const json::object& object, std::string_view key, const std::string& what) {
    const json::value* value = member(object, key);
    if (value == nullptr) return {};
    if (!value->is_string()) refuse(what + ": \"" + std::string(key) + "\" must be a string");
    std::string text(value->as_string());
    if (text.find('\0') != std::string::npos) refuse(what + ": \"" + std::string(key) + "\" holds a NUL");
    return text;
}

std::vector<std::string> texts_of(const json::object& object, std::string_view key, const std::string& what) {
    std::vector<std::string> out;
    const json::value* value = member(object, key);
    if (value == nullptr) return out;
    if (!value->is_array()) refuse(what + ": \"" + std::string(key) + "\" must be a list of strings");
    for (const json::value& item : value->as_array()) {
        if (!item.is_string() || item.as_string().find('\0') != json::string::npos) {
            refuse(what + ": \"" + std::string(key) + "\" must be a list of strings");
        }
        out.emplace_back(item.as_string());
    }
    return out;
}

const json::array& array_of(const json::object& object, std::string_view key, const std::string& what) {
    const json::value* value = member(object, key);
    if (value == nullptr || !value->is_array()) refuse(what + ": \"" + std::string(key) + "\" must be a list");
    return value->as_array();
}

const json::object& object_of(const json::object& object, std::string_view key, const std::string& what) {
    const json::value* value = member(object, key);
    if (value == nullptr || !value->is_object()) refuse(what + ": \"" + std::string(key) + "\" must be an object");
    return value->as_object();
}

long long size_of(const json::object& descriptor, const std::string& what) {
    const json::value* value = member(descriptor, "size");
    json::error_code error;
    const long long size = value == nullptr ? -1 : value->to_number<long long>(error);
    if (value == nullptr || error || size < 0) refuse(what + ": \"size\" must be a number of bytes");
    return size;
}

std::string read_all(int fd, const std::string& what) {
    std::string text;
    std::array<char, 16384> chunk;
    for (;;) {
        const ssize_t n = ::read(fd, chunk.data(), chunk.size());
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) throw Failure(Code::kFailed, what + ": cannot read: " + std::strerror(errno));
        if (n == 0) return text;
        text.append(chunk.data(), static_cast<std::size_t>(n));
    }
}

json::object read_document(const std::filesystem::path& dir, const Digest& digest, long long size,
                           const std::string& what, const Cancelled& cancelled) {
    const std::filesystem::path file = blob_path(dir, digest);
    std::error_code error;
    const auto found = std::filesystem::file_size(file, error);
    if (!error && static_cast<long long>(found) > kMaxDocument) {
        refuse(what + " " + digest.text() + ": " + std::to_string(found) + " bytes, at most " +
               std::to_string(kMaxDocument) + " are read");
    }
    const gantry::Fd fd = open_verified(file, digest, size, what, cancelled);
    return parse_object(read_all(fd.get(), what), what + " " + digest.text());
}

void check_layout_version(const std::filesystem::path& dir) {
    const std::filesystem::path file = dir / "oci-layout";
    std::ifstream in(file);
    if (!in) refuse(dir.string() + " is no OCI image layout: it has no file oci-layout");
    std::string text(4096, '\0');
    in.read(text.data(), static_cast<std::streamsize>(text.size()));
    text.resize(static_cast<std::size_t>(in.gcount()));
    const std::string version = text_of(parse_object(text, file.string()), "imageLayoutVersion", file.string());
    if (version.substr(0, 2) != "1.") refuse(file.string() + ": expected layout version 1.x, got \"" + version + "\"");
}

// The size that index.json gives for this digest, or -1.
long long size_in_index(const std::filesystem::path& dir, const Digest& digest) {
    std::ifstream in(dir / "index.json");
    if (!in) refuse(dir.string() + " is no OCI image layout: it has no file index.json");
    std::ostringstream text;
    text << in.rdbuf();
    const json::object index = parse_object(text.str().substr(0, kMaxDocument), "index.json");
    for (const json::value& item : array_of(index, "manifests", "index.json")) {
        if (!item.is_object()) continue;
        if (text_of(item.as_object(), "digest", "index.json") == digest.text()) {
            return size_of(item.as_object(), "index.json");
        }
    }
    return -1;
}

const json::object& pick_manifest(const json::object& index, const std::string& what, const Platform& wanted) {
    std::string offered;
    for (const json::value& item : array_of(index, "manifests", what)) {
        if (!item.is_object()) refuse(what + ": \"manifests\" must hold objects");
        const json::value* platform = member(item.as_object(), "platform");
        if (platform == nullptr || !platform->is_object()) {
            if (array_of(index, "manifests", what).size() == 1) return item.as_object();
            continue;
        }
        const std::string system = text_of(platform->as_object(), "os", what);
        const std::string architecture = text_of(platform->as_object(), "architecture", what);
        if (system == wanted.system && architecture == wanted.architecture) return item.as_object();
        offered += (offered.empty() ? "" : ", ") + system + "/" + architecture;
    }
    refuse(what + " has no image for " + wanted.system + "/" + wanted.architecture + "; it offers " +
           (offered.empty() ? "none" : offered));
}

ImageConfig read_config(const json::object& document, const std::string& what, const Platform& node) {
    ImageConfig out;
    out.architecture = text_of(document, "architecture", what);
    out.system = text_of(document, "os", what);
    if (!out.system.empty() && out.system != node.system)
        refuse(what + ": made for " + out.system + ", this node runs " + node.system);
    if (!out.architecture.empty() && out.architecture != node.architecture)
        refuse(what + ": made for " + out.architecture + ", this node is " + node.architecture);
    if (member(document, "config") == nullptr) return out;
    const json::object& config = object_of(document, "config", what);
    out.entrypoint = texts_of(config, "Entrypoint", what);
    out.cmd = texts_of(config, "Cmd", what);
    out.env = texts_of(config, "Env", what);
    out.cwd = text_of(config, "WorkingDir", what);
    out.user = text_of(config, "User", what);
    const std::string signal = text_of(config, "StopSignal", what);
    out.stop_signal = signal.empty() ? 0 : parse_signal(signal);
    if (!signal.empty() && out.stop_signal == 0) refuse(what + ": unknown stop signal \"" + signal + "\"");
    return out;
}

json::array to_json(const std::vector<std::string>& list) { return json::array(list.begin(), list.end()); }

struct SignalName {
    std::string_view name;
    int number;
};

constexpr SignalName kSignals[] = {
    {"HUP", SIGHUP},   {"INT", SIGINT},   {"QUIT", SIGQUIT}, {"ILL", SIGILL},     {"TRAP", SIGTRAP},
    {"ABRT", SIGABRT}, {"BUS", SIGBUS},   {"FPE", SIGFPE},   {"KILL", SIGKILL},   {"USR1", SIGUSR1},
    {"SEGV", SIGSEGV}, {"USR2", SIGUSR2}, {"PIPE", SIGPIPE}, {"ALRM", SIGALRM},   {"TERM", SIGTERM},
    {"CHLD", SIGCHLD}, {"CONT", SIGCONT}, {"STOP", SIGSTOP}, {"TSTP", SIGTSTP},   {"TTIN", SIGTTIN},
    {"TTOU", SIGTTOU}, {"URG", SIGURG},   {"XCPU", SIGXCPU}, {"XFSZ", SIGXFSZ},   {"VTALRM", SIGVTALRM},
    {"PROF", SIGPROF}, {"IO", SIGIO},     {"PWR", SIGPWR},   {"WINCH", SIGWINCH}, {"SYS", SIGSYS},
};

// All digits, below 65; else -1.
int small_number(std::string_view text) {
    if (text.empty() || text.size() > 2 || text.find_first_not_of("0123456789") != std::string_view::npos) return -1;
    int n = 0;
    for (const char c : text) n = n * 10 + (c - '0');
    return n <= 64 ? n : -1;
}

}  // namespace

std::string_view machine_architecture() {
#if defined(__x86_64__)
    return "amd64";
#elif defined(__aarch64__)
    return "arm64";
#elif defined(__riscv) && __riscv_xlen == 64
    return "riscv64";
#elif defined(__loongarch64)
    return "loong64";
#elif defined(__powerpc64__) && defined(__LITTLE_ENDIAN__)
    return "ppc64le";
#else
#error "say how OCI calls this architecture"
#endif
}

std::filesystem::path blob_path(const std::filesystem::path& layout_dir, const Digest& digest) {
    return layout_dir / "blobs" / "sha256" / digest.hex();
}

int parse_signal(std::string_view text) {
    if (const int number = small_number(text); number > 0) return number;
    if (text.substr(0, 3) == "SIG") text.remove_prefix(3);
    for (const SignalName& signal : kSignals) {
        if (signal.name == text) return signal.number;
    }
    const int first = text.substr(0, 5) == "RTMIN" ? SIGRTMIN : text.substr(0, 5) == "RTMAX" ? SIGRTMAX : 0;
    if (first == 0) return 0;
    text.remove_prefix(5);
    if (text.empty()) return first;
    const int distance = small_number(text.substr(1));
    const int number = text[0] == '+' ? first + distance : text[0] == '-' ? first - distance : 0;
    return distance >= 0 && number >= SIGRTMIN && number <= SIGRTMAX ? number : 0;
}

ImageConfig parse_config(std::string_view document, const std::string& what, const Platform& platform) {
    return read_config(parse_object(document, what), what, platform);
}

ImageDescription read_layout(const std::filesystem::path& layout_dir, const Digest& manifest,
                             const Cancelled& cancelled, const Platform& platform) {
    check_layout_version(layout_dir);
    Digest digest = manifest;
    std::string what = "manifest " + digest.text();
    json::object document = read_document(layout_dir, digest, size_in_index(layout_dir, digest), "manifest", cancelled);
    for (int depth = 0; member(document, "manifests") != nullptr; ++depth) {
        if (depth == kMaxIndexDepth) refuse(what + ": more than " + std::to_string(kMaxIndexDepth) + " nested indexes");
        const json::object& chosen = pick_manifest(document, what, platform);
        digest = Digest::parse(text_of(chosen, "digest", what), what);
        const long long size = size_of(chosen, what);
        what = "manifest " + digest.text();
        document = read_document(layout_dir, digest, size, "manifest", cancelled);
    }

    const json::object& config_ref = object_of(document, "config", what);
    const Digest config_digest = Digest::parse(text_of(config_ref, "digest", what), what + ": config");
    const std::string config_name = "config " + config_digest.text();
    const json::object config =
        read_document(layout_dir, config_digest, size_of(config_ref, what), "config", cancelled);

    ImageDescription out;
    out.config = read_config(config, config_name, platform);
    out.config_digest = config_digest.text();
    const json::object& rootfs = object_of(config, "rootfs", config_name);
    const std::vector<std::string> diff_ids = texts_of(rootfs, "diff_ids", config_name);
    const json::array& layers = array_of(document, "layers", what);
    if (layers.size() != diff_ids.size()) {
        refuse(what + ": " + std::to_string(layers.size()) + " layers, but " + config_name + " has " +
               std::to_string(diff_ids.size()) + " diff_ids");
    }
    if (layers.empty() || layers.size() > kMaxLayers) {
        refuse(what + ": " + std::to_string(layers.size()) + " layers, expected 1 to " + std::to_string(kMaxLayers));
    }
    for (std::size_t i = 0; i < layers.size(); ++i) {
        const std::string name = what + ": layer " + std::to_string(i);
        if (!layers[i].is_object()) refuse(name + " must be an object");
        const json::object& layer = layers[i].as_object();
        out.layers.push_back({Digest::parse(text_of(layer, "digest", name), name),
                              Digest::parse(diff_ids[i], name + ": diff_id"), size_of(layer, name)});
    }
    return out;
}

std::string write_description(const ImageDescription& image) {
    json::array layers;
    for (const LayerRef& layer : image.layers) {
        layers.push_back({{"digest", layer.digest.text()}, {"diff_id", layer.diff_id.text()}, {"size", layer.size}});
    }
    const ImageConfig& c = image.config;
    const json::object config{{"entrypoint", to_json(c.entrypoint)},
                              {"cmd", to_json(c.cmd)},
                              {"env", to_json(c.env)},
                              {"cwd", c.cwd},
                              {"user", c.user},
                              {"architecture", c.architecture},
                              {"system", c.system},
                              {"stop_signal", c.stop_signal}};
    return json::serialize(json::object{{"layers", std::move(layers)}, {"config", config}});
}

ImageDescription parse_description(std::string_view document) {
    const std::string what = "stored image";
    const json::object object = parse_object(document, what);
    ImageDescription out;
    for (const json::value& item : array_of(object, "layers", what)) {
        if (!item.is_object()) refuse(what + ": layers must be objects");
        const json::object& layer = item.as_object();
        out.layers.push_back({Digest::parse(text_of(layer, "digest", what), what),
                              Digest::parse(text_of(layer, "diff_id", what), what), size_of(layer, what)});
    }
    const json::object& c = object_of(object, "config", what);
    out.config = {texts_of(c, "entrypoint", what), texts_of(c, "cmd", what),
                  texts_of(c, "env", what),        text_of(c, "cwd", what),
                  text_of(c, "user", what),        text_of(c, "architecture", what),
                  text_of(c, "system", what),      0};
    const json::value* signal = member(c, "stop_signal");
    if (signal != nullptr && signal->is_int64()) out.config.stop_signal = static_cast<int>(signal->as_int64());
    return out;
}

}  // namespace image_store
