// SPDX-License-Identifier: Apache-2.0
#include "sdk/tools/check/rig.hpp"

#include <dlfcn.h>
#include <fcntl.h>
#include <time.h>
#include <unistd.h>

#include <gantry/abi/host.h>
#include <algorithm>
#include <charconv>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <gantry/elf/quantity.hpp>
#include <gantry/status.hpp>

#include "sdk/tools/check/puppet.hpp"

namespace gantry::check {
namespace {

// Nanoseconds that this thread waited for a processor. Opened once: loop slots run on the process's first thread.
std::int64_t waited_ns() noexcept {
    static const int fd = ::open("/proc/thread-self/schedstat", O_RDONLY | O_CLOEXEC);
    char text[128];
    const ssize_t n = fd < 0 ? -1 : ::pread(fd, text, sizeof(text) - 1, 0);
    if (n <= 0) return 0;
    text[n] = '\0';
    const char* const space = std::strchr(text, ' ');
    return space == nullptr ? 0 : std::strtoll(space, nullptr, 10);
}

// "gantry.host.log/1" -> "log".
std::string short_name(const char* service) {
    std::string_view name(service);
    name.remove_prefix(std::min(name.size(), name.rfind('.') + 1));
    return std::string(name.substr(0, name.find('/')));
}

}  // namespace

Recorder::Recorder() { testing::set_monitor(this); }
Recorder::~Recorder() { testing::set_monitor(nullptr); }

std::vector<std::string> Recorder::late_calls() const {
    std::lock_guard lock(mutex_);
    return late_;
}

std::vector<std::uint64_t> Recorder::completed_again() const {
    std::lock_guard lock(mutex_);
    std::vector<std::uint64_t> out;
    for (const auto& [op, count] : completed_) {
        if (count > 1) out.push_back(op);
    }
    return out;
}

std::size_t Recorder::completions() const {
    std::lock_guard lock(mutex_);
    return completed_.size();
}

void Recorder::follow(std::uint64_t instance) {
    std::lock_guard lock(mutex_);
    followed_instance_ = instance;
    followed_.clear();
}

std::vector<std::string> Recorder::followed() const {
    std::lock_guard lock(mutex_);
    return followed_;
}

std::string Recorder::last_call() const {
    std::lock_guard lock(mutex_);
    return last_;
}

void Recorder::refuse(std::uint64_t seed, unsigned one_in) {
    std::lock_guard lock(mutex_);
    random_.seed(seed);
    one_in_ = one_in;
}

gantry_status Recorder::host_called(const testing::HostCall& call) noexcept {
    ++calls_;
    std::lock_guard lock(mutex_);
    const std::string_view slot(call.slot);
    last_ = short_name(call.service) + "." + call.slot;
    if (followed_instance_ == call.instance) followed_.push_back(last_);
    if (!call.alive && !deaf) late_.push_back(last_);
    if (slot == "complete") ++completed_[call.op];
    if (one_in_ == 0 || !call.alive) return GANTRY_OK;
    for (std::string_view never : {"complete", "cancelled", "cancel", "unwatch", "change", "now", "wall"}) {
        if (slot == never) return GANTRY_OK;
    }
    if (random_() % one_in_ != 0) return GANTRY_OK;
    ++refused_;
    return random_() % 2 == 0 ? GANTRY_FULL : GANTRY_UNAVAILABLE;
}

Recorder::Moment Recorder::now() noexcept {
    timespec t{};
    ::clock_gettime(CLOCK_MONOTONIC, &t);
    return {std::chrono::seconds(t.tv_sec) + std::chrono::nanoseconds(t.tv_nsec), Duration(waited_ns())};
}

void Recorder::slot_entered(const char*) noexcept {
    std::lock_guard lock(mutex_);
    entered_.push_back(now());
}

void Recorder::slot_left(const char* slot) noexcept {
    std::lock_guard lock(mutex_);
    if (entered_.empty()) return;
    const Moment began = entered_.back(), ended = now();
    entered_.pop_back();
    Duration& longest = held_[slot];
    longest = std::max<Duration>(longest, (ended.wall - began.wall) - (ended.waited - began.waited));
}

std::map<std::string, Duration> Recorder::held() const {
    std::lock_guard lock(mutex_);
    return held_;
}

void Recorder::forget() {
    std::lock_guard lock(mutex_);
    held_.clear();
}

const gantry_entry& load_entry(const Subject& subject) {
    void* const library = ::dlopen(subject.file.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (library == nullptr) {
        const char* const why = ::dlerror();
        throw Failed{"the loader takes it", why == nullptr ? "the loader gave no reason" : why};
    }
    const void* const entry = ::dlsym(library, GANTRY_ENTRY_SYMBOL);
    if (entry == nullptr) throw Failed{"a symbol " GANTRY_ENTRY_SYMBOL, "none"};
    return *static_cast<const gantry_entry*>(entry);
}

const gantry_entry& entry_of(const Trial& trial) {
    return trial.isolated() ? puppet_entry() : load_entry(trial.subject);
}

std::string placed(const Trial& trial, std::string text) {
    constexpr std::string_view kFolder = "{folder}";
    for (std::size_t at = 0; (at = text.find(kFolder, at)) != std::string::npos;) {
        text.replace(at, kFolder.size(), trial.folder());
        at += trial.folder().size();
    }
    return text;
}

namespace {

template <class Number>
Number number(const Setting& setting, const char* expected) {
    Number out{};
    const auto [end, error] = std::from_chars(setting.text.data(), setting.text.data() + setting.text.size(), out);
    if (error != std::errc() || end != setting.text.data() + setting.text.size()) {
        throw Failed{std::string(expected) + " for " + setting.key + " in the file of --config", setting.text};
    }
    return out;
}

void put(testing::Settings& out, const Trial& trial, const elf::ConfigKey& key, const Setting& setting) {
    const auto need = [&](bool fits, const char* what) {
        expect(fits, std::string(what) + " for " + setting.key + " in the file of --config", setting.text);
    };
    switch (key.type) {
        case elf::ValueType::kString:
            need(setting.kind == 's', "a text");
            out.string(key.name, placed(trial, setting.text));
            return;
        case elf::ValueType::kInteger:
            need(setting.kind == 'i', "an integer");
            out.integer(key.name, number<std::int64_t>(setting, "an integer"));
            return;
        case elf::ValueType::kNumber:
            out.number(key.name, number<double>(setting, "a number"));
            return;
        case elf::ValueType::kBoolean:
            need(setting.kind == 'b', "true or false");
            out.boolean(key.name, setting.text == "true");
            return;
        case elf::ValueType::kDuration: {
            const auto ns = elf::parse_duration_ns(setting.text);
            need(ns.has_value(), "a duration (\"200ms\")");
            out.duration(key.name, Duration(*ns));
            return;
        }
        case elf::ValueType::kSize: {
            const auto bytes = elf::parse_size_bytes(setting.text);
            need(bytes.has_value(), "a size (\"64MiB\")");
            out.size(key.name, *bytes);
            return;
        }
        case elf::ValueType::kList: {
            need(setting.kind == 'l', "a list of texts");
            std::vector<std::string> items;
            for (const std::string& item : setting.list) items.push_back(placed(trial, item));
            out.list(key.name, std::move(items));
            return;
        }
    }
}

}  // namespace

testing::Settings settings_of(const Trial& trial, const std::vector<Setting>& values) {
    testing::Settings out;
    const auto& schema = trial.subject.reading.note.config;
    for (const Setting& setting : values) {
        const auto key = std::ranges::find(schema, setting.key, &elf::ConfigKey::name);
        if (key == schema.end()) throw Failed{"a key of the plugin's schema in [settings]", setting.key};
        put(out, trial, *key, setting);
    }
    for (const elf::ConfigKey& key : schema) {
        if (!key.required || std::ranges::find(values, key.name, &Setting::key) != values.end()) continue;
        throw Skipped{"the key '" + key.name + "' is required: give it in [settings] of a file for --config"};
    }
    return out;
}

testing::Settings settings_of(const Trial& trial) { return settings_of(trial, trial.subject.world.settings); }

namespace {

testing::Options options_for(Trial& trial, bool real_time) {
    testing::Options out;
    out.real_time = real_time || trial.isolated();
    out.seed = trial.seed();
    return out;
}

}  // namespace

Rig::Rig(Trial& trial_in, bool real_time) : Rig(trial_in, options_for(trial_in, real_time)) {}

Rig::Rig(Trial& trial_in, const testing::Options& options) : trial(trial_in), host(options) {
    for (const auto& [name, contents] : trial.subject.world.files) {
        const std::filesystem::path path = std::filesystem::path(trial.folder()) / name;
        if (std::filesystem::exists(path)) continue;
        std::filesystem::create_directories(path.parent_path());
        std::ofstream(path, std::ios::binary) << placed(trial, contents);
        std::filesystem::permissions(path, std::filesystem::perms::owner_read | std::filesystem::perms::owner_write);
    }
}

testing::Instance& Rig::make(testing::Settings settings) {
    if (!trial.isolated()) return host.load(trial.subject.file, std::move(settings));
    settings.apply_schema_of(trial.subject.file);
    return host.load(puppet_entry(), std::move(settings));
}

std::string listed(const std::vector<std::string>& items, std::size_t most) {
    std::string out = std::to_string(items.size());
    for (std::size_t i = 0; i < items.size() && i < most; ++i) out += (i == 0 ? ": " : ", ") + items[i];
    if (items.size() > most) out += " ...";
    return out;
}

}  // namespace gantry::check
