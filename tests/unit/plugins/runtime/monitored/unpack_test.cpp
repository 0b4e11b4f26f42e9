// SPDX-License-Identifier: Apache-2.0
//
// The border between a runtime and gantry-unpack: what happens there is as if it had happened here.
#include <fcntl.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <csignal>

#include "plugins/runtime/image-store/layer.hpp"
#include "plugins/runtime/monitored/process.hpp"
#include "plugins/runtime/monitored/unpack_program.hpp"
#include "tests/unit/plugins/runtime/image_builder.hpp"

namespace fs = std::filesystem;
using gantry::Code;
using gantry::Fd;
using namespace image_builder;
using namespace image_store;
using namespace std::chrono_literals;

namespace {

constexpr const char* kProgram = GANTRY_UNPACK_PROGRAM;

struct Verdict {
    Code code = Code::kOk;
    std::string text;
};

bool has(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

bool has_child() { return ::waitpid(-1, nullptr, WNOHANG) != -1; }

long open_descriptors() { return std::distance(fs::directory_iterator("/proc/self/fd"), fs::directory_iterator()); }

// One layer and a folder to unpack it to.
class Layer {
  public:
    explicit Layer(const std::string& tar, Packing packing = Packing::kPlain, std::string diff_id = {})
        : bytes_(pack(tar, packing)),
          ref_{Digest::parse(sha256(bytes_), "blob"), Digest::parse(diff_id.empty() ? sha256(tar) : diff_id, "tar"),
               static_cast<long long>(bytes_.size())} {
        spill(scratch_.path() / "blob", bytes_);
    }

    long long max_bytes = 1 << 20;
    bool folder_is_gone = false;

    Verdict by(const Unpack& unpack, int blob = -1) {
        const fs::path to = scratch_.path() / ("tree" + std::to_string(trees_++));
        fs::create_directory(to);
        last_ = to;
        const Fd root(::open(to.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
        const Fd file(::open((scratch_.path() / "blob").c_str(), O_RDONLY | O_CLOEXEC));
        if (folder_is_gone) fs::remove(to);
        try {
            unpack({blob < 0 ? file.get() : blob, root.get(), ref_, TreeForm::kFlat, false, max_bytes}, cancelled);
        } catch (const gantry::Failure& failure) {
            return {failure.code(), failure.what()};
        }
        return {};
    }
    Verdict by_program(const std::string& program = kProgram, int blob = -1) {
        return by([&](const auto& job, const auto& wish) { monitored::unpack_by(program, job, wish); }, blob);
    }
    Cancelled cancelled = [] { return false; };
    fs::path script(const std::string& text) const {
        spill(scratch_.path() / "script", "#!/bin/sh\n" + text + "\n");
        ::chmod((scratch_.path() / "script").c_str(), 0700);
        return scratch_.path() / "script";
    }
    const fs::path& tree() const { return last_; }
    std::string name() const { return "layer " + ref_.digest.text(); }

  private:
    Scratch scratch_;
    std::string bytes_;
    LayerRef ref_;
    fs::path last_;
    int trees_ = 0;
};

struct Pipe {
    Pipe() {
        int ends[2];
        REQUIRE(::pipe2(ends, O_CLOEXEC) == 0);
        out.reset(ends[0]);
        in.reset(ends[1]);
    }
    bool drained() const {
        int left = 0;
        return ::ioctl(in.get(), FIONREAD, &left) == 0 && left == 0;
    }
    Fd out, in;
};

}  // namespace

TEST_CASE("A layer is unpacked by the program, which leaves no child and no descriptor") {
    Layer layer(tar({folder("bin"), file("bin/run", "program", 0755), file("etc/名字", "utf-8")}), Packing::kZstd);
    const long before = open_descriptors();
    const Verdict verdict = layer.by_program();
    CHECK(verdict.text == "");
    CHECK(slurp(layer.tree() / "bin/run") == "program");
    CHECK(slurp(layer.tree() / "etc/名字") == "utf-8");
    CHECK(open_descriptors() == before);
    CHECK_FALSE(has_child());
}

TEST_CASE("What is wrong with a layer crosses the border with its kind and every letter") {
    const std::string good = tar({file("a", std::string(5000, 'x'))});
    const auto same = [](Layer& layer, Code code, const std::string& word) {
        const Verdict here = layer.by(&unpack_layer), there = layer.by_program();
        CHECK(here.code == code);
        CHECK(there.code == code);
        CHECK(there.text == here.text);
        CHECK(has(there.text, layer.name()));
        CHECK(has(there.text, word));
        CHECK_FALSE(has_child());
    };
    SECTION("an entry that climbs out") {
        Layer layer(tar({file("a/../../out", "x")}));
        same(layer, Code::kInvalid, "climbs out");
    }
    SECTION("a name that is longer than a message") {
        Layer layer(tar({file(std::string(6000, 'n'), "x")}));
        same(layer, Code::kInvalid, "4096");
    }
    SECTION("another digest") {
        Layer layer(good, Packing::kGzip, sha256("something else"));
        same(layer, Code::kInvalid, sha256("something else"));
    }
    SECTION("no tar") {
        Layer layer(std::string(4000, 'z'));
        same(layer, Code::kInvalid, "broken tar");
    }
    SECTION("larger than permitted") {
        Layer layer(good, Packing::kGzip);
        layer.max_bytes = 2048;
        same(layer, Code::kInvalid, "more than 2048 bytes");
    }
    SECTION("a folder that is gone") {
        Layer layer(good);
        layer.folder_is_gone = true;
        same(layer, Code::kFailed, "cannot create");
    }
}

TEST_CASE("A cancelled unpacking ends its process, even one that hangs") {
    Layer layer(tar({file("a", "1")}));
    const Pipe never;
    REQUIRE(::write(never.in.get(), "x", 1) == 1);
    layer.cancelled = [&] { return never.drained(); };  // the program waits for more
    const gantry::Instant from = monitored::now();
    const Verdict verdict = layer.by_program(kProgram, never.out.get());
    CHECK(verdict.code == Code::kCancelled);
    CHECK(verdict.text == layer.name() + ": cancelled");
    CHECK(monitored::now() - from < 30s);
    CHECK_FALSE(has_child());
}

TEST_CASE("The program does not outlive who runs it") {
    Layer layer(tar({file("a", "1")}));
    Pipe never;
    REQUIRE(::write(never.in.get(), "x", 1) == 1);
    const pid_t daemon = ::fork();
    if (daemon == 0) {
        never.in.reset();
        (void)layer.by_program(kProgram, never.out.get());
        ::_exit(0);
    }
    never.out.reset();
    const gantry::Instant limit = monitored::now() + 30s;
    while (!never.drained() && monitored::now() < limit) ::poll(nullptr, 0, 1);
    CHECK(never.drained());
    CHECK(::kill(daemon, SIGKILL) == 0);
    CHECK(::waitpid(daemon, nullptr, 0) == daemon);
    pollfd end{never.in.get(), 0, 0};  // an error once nobody can read any more
    CHECK(::poll(&end, 1, 30'000) == 1);
}

TEST_CASE("A program that dies, is missing or does not answer fails the layer and says so") {
    Layer layer(tar({file("a", "1")}));
    const auto fails = [&](const fs::path& program, const std::string& word) {
        const Verdict verdict = layer.by_program(program.string());
        CAPTURE(verdict.text);
        CHECK(verdict.code == Code::kFailed);
        CHECK(has(verdict.text, layer.name()));
        CHECK(has(verdict.text, program.string()));
        CHECK(has(verdict.text, word));
        CHECK_FALSE(has_child());
    };
    fails(layer.script("kill -SEGV $$"), "SIGSEGV");
    fails(layer.script("kill -KILL $$"), "SIGKILL");
    fails(layer.script("echo no such library >&2; exit 127"), "no such library");
    fails(layer.script("exit 10"), "it said: nothing");
    fails("/bin/true", "without the answer");
    fails("/nowhere/gantry-unpack", "No such file");
}
