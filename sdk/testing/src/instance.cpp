// SPDX-License-Identifier: Apache-2.0
#include <future>
#include <gantry/testing/operations.hpp>
#include <thread>

#include "sdk/testing/src/loop.hpp"

namespace gantry::testing {
namespace {

// A buffer for a plugin's error text.
struct ErrorText {
    char buffer[512];
    gantry_error raw{sizeof(gantry_error), sizeof(buffer), buffer, 0, 0};
    void check(gantry_status status, const char* what) const {
        if (status == GANTRY_OK) return;
        throw Failure(static_cast<Code>(status), std::string(what) + ": " + std::string(buffer, raw.text_len));
    }
};

template <class Slot, class... Args>
auto inside(const char* name, Slot slot, Args... args) {
    const InSlot in(name);
    return slot(args...);
}

gantry_config_value lower(const Settings::Value& v, std::vector<gantry_str>& list) {
    list = detail::lower(v.list);
    return {str(v.key), v.type, v.given ? 1u : 0u, v.integer, v.number, str(v.string), list.data(), list.size()};
}

}  // namespace

Instance::Instance(FakeHost& host, const gantry_entry& entry, Settings settings)
    : host_(host), handle_(host.loop().add_instance()) {
    if (entry.magic != GANTRY_ENTRY_MAGIC)
        throw Failure(Code::kInvalid, "gantry_plugin_entry has another magic number");
    const gantry_host raw{sizeof(gantry_host), 0, handle_,
                          [](std::uint64_t, gantry_str id) noexcept -> const void* { return service_table(view(id)); }};
    plugin_.struct_size = sizeof(plugin_);
    ErrorText error;
    error.check(inside("create", entry.create, &raw, &plugin_, &error.raw), "create");

    std::vector<std::vector<gantry_str>> lists(settings.values().size());
    std::vector<gantry_config_value> values;
    for (std::size_t i = 0; i < lists.size(); ++i) values.push_back(lower(settings.values()[i], lists[i]));
    const gantry_config config{
        sizeof(config), sizeof(gantry_config_value), str(settings.table_name()), str(settings.folder()), values.data(),
        values.size()};
    try {
        error.check(inside("init", plugin_.init, plugin_.self, &config, &error.raw), "init");
    } catch (...) {
        destroy();
        throw;
    }
}

Instance::~Instance() {
    try {
        if (!stopped_ && !destroyed_) stop();
    } catch (const Failure&) {
        // The test asked for no stop, so it does not care how it ends.
    }
    destroy();
}

void Instance::start() {
    ErrorText error;
    error.check(inside("start", plugin_.start, plugin_.self, &error.raw), "start");
}

void Instance::stop(Duration stop_limit) {
    if (std::exchange(stopped_, true)) return;
    // Shared with a thread that may not come back.
    struct Stopping {
        ErrorText error;
        std::promise<gantry_status> status;
    };
    auto stopping = std::make_shared<Stopping>();
    auto status = stopping->status.get_future();
    const std::int64_t deadline = (host_.now() + stop_limit).count();
    std::thread worker([stopping, plugin = plugin_, deadline] {
        stopping->status.set_value(plugin.stop(plugin.self, deadline, &stopping->error.raw));
    });
    if (status.wait_for(stop_limit + std::chrono::seconds(1)) != std::future_status::ready) {
        worker.detach();
        destroyed_ = true;  // its code runs on: nothing of it may be freed
        host_.loop().end_instance(handle_);
        throw Failure(Code::kDeadline, "stop: hangs: it did not stop before its deadline");
    }
    worker.join();
    if (!host_.loop().end_instance(handle_)) {
        destroyed_ = true;
        throw Failure(Code::kDeadline, "stop: a job runs on behind it");
    }
    stopping->error.check(status.get(), "stop");
}

void Instance::destroy() {
    if (std::exchange(destroyed_, true)) return;
    stopped_ = true;
    if (!host_.loop().end_instance(handle_)) return;  // a job runs on: nothing may be freed
    inside("destroy", plugin_.destroy, plugin_.self);
}

const void* Instance::role_table(std::string_view interface) const {
    const void* table = plugin_.query(plugin_.self, str(interface));
    if (table == nullptr) throw Failure(Code::kUnsupported, "the plugin has no table " + std::string(interface));
    return table;
}

std::uint64_t begin_operation(Instance& instance, const std::function<gantry_status(gantry_op)>& call,
                              std::function<void(const void*)> decode, std::function<void(Code, std::string)> ended) {
    Loop& loop = instance.host().loop();
    const Instant deadline = loop.now() + instance.limit;
    auto told = std::make_shared<std::function<void(Code, std::string)>>(std::move(ended));
    const std::uint64_t id =
        loop.add_operation({instance.handle(), deadline, false, std::move(decode),
                            [told](Code code, std::string text) { (*told)(code, std::move(text)); }});
    const gantry_status status = call({id, deadline.count()});
    if (status != GANTRY_OK) {
        loop.drop_operation(id);
        loop.post(0, [told, status] { (*told)(static_cast<Code>(status), "the slot refused"); });
    }
    return id;
}

void cancel_operation(Instance& instance, std::uint64_t id) { instance.host().loop().cancel_operation(id); }

}  // namespace gantry::testing
