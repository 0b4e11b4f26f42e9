// SPDX-License-Identifier: Apache-2.0
#include <dlfcn.h>

#include <filesystem>

#include "sdk/testing/src/loop.hpp"

namespace gantry::testing {
namespace {

std::string fresh_folder() {
    std::string path = (std::filesystem::temp_directory_path() / "gantry-test-XXXXXX").string();
    if (::mkdtemp(path.data()) == nullptr) throw Failure(Code::kFailed, "no temporary folder at " + path);
    return path;
}

}  // namespace

FakeHost::FakeHost(Options options) : loop_(std::make_unique<Loop>(*this, options)), folder_(fresh_folder()) {}

FakeHost::~FakeHost() {
    while (!instances_.empty()) instances_.pop_back();
    turn();
    loop_.reset();
    std::error_code ignored;  // a folder that stays behind is no failure of the test
    std::filesystem::remove_all(folder_, ignored);
}

Instance& FakeHost::load(const std::string& file, Settings settings) {
    settings.apply_schema_of(file);
    // Never closed: a plugin may leave code behind that runs at exit.
    void* library = ::dlopen(file.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (library == nullptr) throw Failure(Code::kInvalid, std::string("cannot load: ") + ::dlerror());
    const auto* entry = static_cast<const gantry_entry*>(::dlsym(library, GANTRY_ENTRY_SYMBOL));
    if (entry == nullptr) throw Failure(Code::kInvalid, file + " has no " GANTRY_ENTRY_SYMBOL);
    return load(*entry, std::move(settings));
}

Instance& FakeHost::load(const gantry_entry& entry, Settings settings) {
    if (settings.folder().empty()) {
        const std::string folder = folder_ + "/state-" + std::to_string(instances_.size() + 1);
        std::filesystem::create_directory(folder);
        settings.state_dir(folder);
    }
    instances_.push_back(std::unique_ptr<Instance>(new Instance(*this, entry, std::move(settings))));
    return *instances_.back();
}

Instant FakeHost::now() const { return loop_->now(); }
bool FakeHost::turn() { return loop_->turn(Duration::zero()); }
void FakeHost::advance(Duration by) { loop_->advance(by); }
bool FakeHost::run_until(const std::function<bool()>& condition, Duration limit) {
    return loop_->run_until(condition, limit);
}

void FakeHost::drop_kept() { loop_->drop_kept(); }

std::vector<LogLine> FakeHost::logs() const {
    std::lock_guard lock(loop_->mutex);
    return loop_->logs;
}
std::vector<EventLine> FakeHost::events() const {
    std::lock_guard lock(loop_->mutex);
    return loop_->events;
}
std::map<std::string, double> FakeHost::metrics() const {
    std::lock_guard lock(loop_->mutex);
    return loop_->metrics;
}
void FakeHost::emit_event(std::uint64_t number, std::string document) { loop_->emit(number, document); }

}  // namespace gantry::testing
