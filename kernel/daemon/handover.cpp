// SPDX-License-Identifier: Apache-2.0
#include "kernel/daemon/handover.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <charconv>
#include <cstdlib>
#include <cstring>

#include "kernel/base/json.hpp"

namespace gantry::daemon {
namespace {

constexpr int kVersion = 1;
constexpr const char* kVariable = "GANTRY_HANDOVER";
constexpr std::size_t kMost = 32 << 20;  // bytes of a text

json::array strings(const std::vector<std::string>& list) { return json::array(list.begin(), list.end()); }

class Packer {
  public:
    Packer(int first, Parcel& parcel) : next_(first + 1), parcel_(parcel) {}

    int number(int fd) {
        if (fd < 0) return -1;
        parcel_.descriptors.emplace_back(next_, fd);
        return next_++;
    }
    json::object files(const Files& files) {
        json::object out;
        for (const auto& [title, file] : files) {
            out[title] = json::object{{"path", file.path},         {"fd", number(file.fd)},
                                      {"chosen", file.chosen},     {"voucher", static_cast<int>(file.origin.voucher)},
                                      {"trust", file.origin.text}, {"digest", file.origin.digest}};
        }
        return out;
    }

  private:
    int next_;
    Parcel& parcel_;
};

class Taker {
  public:
    explicit Taker(Handover& into) : into_(into) {}

    int descriptor(const json::value& number) {
        const int fd = static_cast<int>(number.to_number<std::int64_t>());
        if (fd >= 0) {
            (void)::fcntl(fd, F_SETFD, FD_CLOEXEC);
            into_.owned.emplace_back(fd);
        }
        return fd;
    }
    Files files(const json::object& from) {
        Files out;
        for (const auto& [title, value] : from) {
            const auto& file = value.as_object();
            const auto text = [&](const char* key) { return std::string(file.at(key).as_string()); };
            const auto voucher = static_cast<trust::Voucher>(file.at("voucher").to_number<int>());
            out[std::string(title)] = {text("path"),
                                       descriptor(file.at("fd")),
                                       {voucher, text("trust"), text("digest")},
                                       file.at("chosen").as_bool()};
        }
        return out;
    }

  private:
    Handover& into_;
};

std::vector<std::string> list_of(const json::value& from) {
    std::vector<std::string> out;
    for (const auto& item : from.as_array()) out.emplace_back(item.as_string());
    return out;
}

}  // namespace

Parcel pack(const Handover& handover, int first) {
    Parcel out;
    Packer packer(first, out);
    json::object document{{"v", kVersion},
                          {"path", handover.path},
                          {"what", handover.what},
                          {"plugin", handover.plugin},
                          {"changed", strings(handover.changed)},
                          {"config", handover.config},
                          {"files", packer.files(handover.files)},
                          {"running", strings(handover.running)},
                          {"failed", handover.failed},
                          {"program", packer.number(handover.program)},
                          {"config_before", handover.config_before},
                          {"files_before", packer.files(handover.files_before)}};
    out.text = to_text(document);
    return out;
}

Result<std::unique_ptr<Handover>> take_handover() try {
    const char* const given = std::getenv(kVariable);
    if (given == nullptr) return nullptr;
    int number = -1;
    std::from_chars(given, given + std::strlen(given), number);
    ::unsetenv(kVariable);
    const control::FileDescriptor file(number);
    GANTRY_TRY(text, control::read_file("/proc/self/fd/" + std::to_string(number), kMost));
    GANTRY_TRY(document, parse_json(text, kMost));
    const auto& root = document.as_object();
    if (root.at("v").to_number<int>() != kVersion)
        return fail(Code::kUnsupported, "it is of another version of gantryd: stop gantryd and start it");
    auto out = std::make_unique<Handover>();
    Taker taker(*out);
    const auto string = [&](const char* key) { return std::string(root.at(key).as_string()); };
    out->path = string("path");
    out->what = string("what");
    out->plugin = string("plugin");
    out->changed = list_of(root.at("changed"));
    out->config = string("config");
    out->files = taker.files(root.at("files").as_object());
    out->running = list_of(root.at("running"));
    out->failed = string("failed");
    out->program = taker.descriptor(root.at("program"));
    out->config_before = string("config_before");
    out->files_before = taker.files(root.at("files_before").as_object());
    return out;
} catch (const std::exception& error) {
    return fail(Code::kInvalid, std::string("what the gantryd before handed over cannot be read: ") + error.what());
}

control::FileDescriptor text_file(std::string_view text) {
    control::FileDescriptor out(::memfd_create("gantry-handover", MFD_CLOEXEC));
    if (out && !control::write_all(out.get(), text, 0, "the handover")) return control::FileDescriptor();
    return out;
}

}  // namespace gantry::daemon
