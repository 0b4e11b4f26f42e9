// SPDX-License-Identifier: Apache-2.0
#include "tests/unit/plugins/runtime/fixture.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <cstdlib>
#include <sstream>
#include <thread>

namespace runtime_test {

namespace fs = std::filesystem;
using namespace std::chrono_literals;
using namespace image_builder;

namespace {

constexpr const char* kBusybox = "/bin/busybox";

std::string stat_tail(std::int64_t pid) {
    const std::string text = slurp("/proc/" + std::to_string(pid) + "/stat");
    const std::size_t at = text.rfind(") ");
    return at == std::string::npos ? "" : text.substr(at + 2);
}

}  // namespace

int patience() {
    const char* text = std::getenv("GANTRY_TEST_PATIENCE");
    return text == nullptr ? 3 : std::max(1, std::atoi(text));
}

bool eventually(const std::function<bool()>& condition) {
    const auto limit = std::chrono::steady_clock::now() + 10s * patience();
    while (!condition()) {
        if (std::chrono::steady_clock::now() > limit) return false;
        std::this_thread::sleep_for(1ms);
    }
    return true;
}

bool alive(std::int64_t pid) {
    const std::string tail = stat_tail(pid);
    return !tail.empty() && tail[0] != 'Z' && tail[0] != 'X';
}

std::int64_t parent_of(std::int64_t pid) {
    std::istringstream fields(stat_tail(pid));
    char state = 0;
    std::int64_t parent = 0;
    fields >> state >> parent;
    return parent;
}

Fixture::Fixture(std::int64_t log_size_max) : log_size_max_(log_size_max) {
    ::umask(0077);  // as the daemon
    begin();
    Layout layout(scratch_.path() / "layout");
    std::string busybox = slurp(fs::exists(kBusybox) ? kBusybox : "/usr/bin/busybox");
    REQUIRE(busybox.size() > 100000);
    layout.layer({folder("bin"), file("bin/busybox", busybox, 0755), folder("etc"), folder("tmp", 01777),
                  folder("proc"), folder("sys"), folder("dev"),
                  file("etc/passwd", "root:x:0:0:r:/root:/bin/sh\nworker:x:1234:1235:w:/home/worker:/bin/sh\n"),
                  file("etc/group", "root:x:0:\nworkers:x:1235:\nextra:x:1300:other,worker\n")},
                 Packing::kGzip);
    layout.layer({symbolic("bin/sh", "busybox"), file("etc/motd", "hello")});
    layout.config = {
        {"Env", {"PATH=/bin", "FROM_IMAGE=image"}}, {"Entrypoint", {"busybox", "echo"}}, {"Cmd", {"from the image"}}};
    image_ = import(layout);
}

std::string Fixture::import(Layout& layout) {
    const std::string digest = layout.finish();
    const auto answer = driver().ensure_image({digest, layout.dir().string()}).wait(10s * patience());
    REQUIRE_THAT(answer.text, Catch::Equals(""));
    REQUIRE(answer.ok());
    return digest;
}

void Fixture::begin() {
    gantry::testing::Options options;
    options.real_time = true;
    host_ = std::make_unique<gantry::testing::FakeHost>(options);
    fs::create_directories(state_dir());
    gantry::testing::Settings settings;
    settings.state_dir(state_dir().string());
    if (log_size_max_ > 0) settings.size("log_size_max", log_size_max_);
    if (traits().settings) traits().settings(settings);
    instance_ = &host_->load(traits().plugin_file, settings);
    driver_ = std::make_unique<gantry::testing::RuntimeDriver>(*instance_);
    instance_->limit *= patience();
    instance_->start();
}

void Fixture::stop() {
    driver_.reset();
    host_.reset();
}

void Fixture::restart() {
    stop();
    begin();
}

Fixture::~Fixture() {
    try {
        if (!host_) begin();
        for (const std::string& name : names()) {
            (void)driver().kill(name).wait(20s * patience());
            (void)driver().remove(name).wait(20s * patience());
        }
        CHECK(names().empty());
        stop();
        if (traits().left_over) CHECK(traits().left_over() == "");
        for (const char* part : {"containers", "exits"}) {
            if (fs::exists(state_dir() / part)) CHECK(fs::is_empty(state_dir() / part));
        }
    } catch (const std::exception& error) {
        FAIL_CHECK("cleaning up: " << error.what());
    }
}

gantry::ContainerSpec Fixture::script(const std::string& name, const std::string& text) const {
    gantry::ContainerSpec spec;
    spec.name = name;
    spec.image = image_;
    spec.args = {"/bin/busybox", "sh", "-c", "B=$GANTRY_ROOT/bin/busybox; " + text};
    return spec;
}

void Fixture::run(const gantry::ContainerSpec& spec) {
    const auto created = driver().create(spec).wait(10s * patience());
    REQUIRE_THAT(created.text, Catch::Equals(""));
    REQUIRE(created.ok());
    const auto started = driver().start(spec.name).wait(10s * patience());
    REQUIRE_THAT(started.text, Catch::Equals(""));
    REQUIRE(started.ok());
}

gantry::Container Fixture::find(const std::string& name) {
    const auto answer = driver().list().wait();
    REQUIRE(answer.ok());
    for (const gantry::Container& container : answer.result.containers) {
        if (container.name == name) return container;
    }
    FAIL("container " << name << " is not listed");
    return {};
}

std::vector<std::string> Fixture::names() {
    const auto answer = driver().list().wait();
    REQUIRE(answer.ok());
    std::vector<std::string> out;
    for (const gantry::Container& container : answer.result.containers) out.push_back(container.name);
    return out;
}

gantry::Container Fixture::wait_exit(const std::string& name) {
    gantry::Container out;
    const gantry::Instant limit = host().now() + 10s * patience();
    do {
        out = find(name);
        if (out.state == gantry::ContainerState::kExited) return out;
        host().run_until([] { return false; }, 5ms);
    } while (host().now() < limit);
    FAIL("container " << name << " does not end");
    return out;
}

std::string Fixture::logs(const std::string& name, std::int64_t tail, std::int64_t since_ns) {
    int ends[2];
    REQUIRE(::pipe2(ends, O_CLOEXEC) == 0);
    const gantry::Fd in(ends[0]);
    auto pending = driver().logs(name, gantry::Fd(ends[1]), false, tail, since_ns);
    ::fcntl(in.get(), F_SETFL, O_NONBLOCK);
    std::string out(1 << 16, '\0');
    std::string text;
    const auto take = [&] {
        for (ssize_t n = 0; (n = ::read(in.get(), out.data(), out.size())) > 0;)
            text.append(out, 0, static_cast<std::size_t>(n));
    };
    CHECK(host().run_until(
        [&] {
            take();
            return pending.ended();
        },
        10s * patience()));
    take();
    CHECK(pending.wait().ok());
    return text;
}

bool Fixture::logged(const std::string& name, const std::string& text) {
    const gantry::Instant limit = host().now() + 10s * patience();
    while (logs(name).find(text) == std::string::npos) {
        if (host().now() > limit) return false;
        host().run_until([] { return false; }, 5ms);
    }
    return true;
}

}  // namespace runtime_test
