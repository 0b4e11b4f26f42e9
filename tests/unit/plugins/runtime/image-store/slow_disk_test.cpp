// SPDX-License-Identifier: Apache-2.0
//
// rename() of this program can be held up, as by a disk that does not answer: what is asked on the loop must not wait.
#include <fcntl.h>
#include <stdio.h>

#include <catch2/catch.hpp>
#include <condition_variable>
#include <future>
#include <mutex>

#include "plugins/runtime/image-store/layer.hpp"
#include "plugins/runtime/image-store/store.hpp"
#include "tests/unit/plugins/runtime/image_builder.hpp"

using namespace image_builder;
using namespace std::chrono_literals;
using image_store::Store;
using image_store::TreeForm;

namespace {

std::mutex gate;
std::condition_variable gate_changed;
bool closed = false;
int waiting = 0;

void set_gate(bool shut) {
    const std::lock_guard lock(gate);
    closed = shut;
    gate_changed.notify_all();
}

bool somebody_waits() {
    std::unique_lock lock(gate);
    return gate_changed.wait_for(lock, 10s, [] { return waiting > 0; });
}

struct Opener {
    ~Opener() { set_gate(false); }
};

}  // namespace

extern "C" int rename(const char* from, const char* to) {
    {
        std::unique_lock lock(gate);
        ++waiting;
        gate_changed.notify_all();
        gate_changed.wait(lock, [] { return !closed; });
        --waiting;
    }
    return ::renameat(AT_FDCWD, from, AT_FDCWD, to);
}

TEST_CASE("Looking into the table never waits for the disk") {
    const Scratch scratch;
    Layout one(scratch.path() / "one"), two(scratch.path() / "two");
    one.layer({file("a", "1")});
    two.layer({file("b", "1")});
    const std::string first = one.finish(), second = two.finish();
    Store store({scratch.path() / "store", TreeForm::kFlat, false, 64 << 20, &image_store::unpack_layer});
    store.ensure(first, one.dir());

    std::future<void> slow;
    const Opener opener;  // goes before `slow`, which waits for its thread
    set_gate(true);
    SECTION("while an image is unpacked") {
        slow = std::async(std::launch::async, [&] { store.ensure(second, two.dir()); });
    }
    SECTION("while an image is removed") {
        slow = std::async(std::launch::async, [&] { store.remove(second), store.remove(first); });
    }
    REQUIRE(somebody_waits());
    auto look =
        std::async(std::launch::async, [&] { return store.find(second).has_value() ? 0 : store.images().size() + 1; });
    const bool in_time = look.wait_for(10s) == std::future_status::ready;
    CHECK(in_time);
    set_gate(false);
    CHECK(look.get() >= 1);
    slow.get();
}
