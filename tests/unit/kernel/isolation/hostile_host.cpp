// SPDX-License-Identifier: Apache-2.0
//
// In place of gantry-plugin-host: behaves until it is started, then as the name of its table says.
#include <fcntl.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdlib>
#include <random>

#include "kernel/isolation/messages.hpp"
#include "kernel/isolation/packet.hpp"
#include "kernel/isolation/program.hpp"
#include "kernel/isolation/roles.hpp"

using namespace gantry;
using namespace gantry::isolation;

namespace {

void say(Head head, const std::function<void(Writer&)>& rest = nullptr, std::span<const int> fds = {}) {
    std::string message = open_message();
    Writer w(message);
    if (rest) rest(w);
    seal(message, head);
    while (send_message(kSocketFd, message, fds) == Sent::kLater) ::poll(nullptr, 0, 1);
}

void raw(std::string_view bytes) {
    if (::send(kSocketFd, bytes.data(), bytes.size(), MSG_NOSIGNAL) < 0) ::_exit(1);
}

void done(std::uint64_t id, const std::function<void(Writer&)>& result) {
    say({.kind = Kind::kDone, .id = id}, [&](Writer& w) {
        w.text("");
        w.number<std::uint8_t>(1);
        result(w);
    });
}

void right_answer(std::uint64_t id) {
    done(id, [](Writer& w) { put(w, gantry_probe_result{sizeof(gantry_probe_result), 1, 7, host::str("well")}); });
}

// Bytes of a real message, three of them changed, cut somewhere.
void noise(std::uint64_t seed, std::uint64_t id) {
    std::mt19937_64 random(seed);
    for (int i = 0; i < 300; ++i) {
        std::string message = open_message();
        Writer w(message);
        w.text("a text");
        w.number<std::uint8_t>(1);
        put(w, gantry_probe_result{sizeof(gantry_probe_result), 1, 7, host::str("a detail")});
        constexpr std::uint16_t kKinds[] = {100, 101, 102, 103, 104, 105, 106, 107, 108, 109, 1, 77};
        seal(message, {.kind = static_cast<Kind>(kKinds[random() % std::size(kKinds)]),
                       .table = static_cast<std::uint16_t>(random() % 4),
                       .slot = static_cast<std::uint16_t>(random() % 8),
                       .id = random() % 2 == 0 ? id : random()});
        for (int n = 0; n < 3; ++n) message[random() % message.size()] = static_cast<char>(random());
        if (random() % 3 == 0) message.resize(2 + random() % (message.size() - 2));
        raw(message);
    }
}

void misbehave(std::string_view how, std::uint64_t id) {
    if (how == "garbage") return raw("what is this, who sends it and why would anybody read it at all?");
    if (how == "no-head") return raw("xx");
    if (how == "one-byte") return raw("x");
    if (how == "above-limit") {
        const int large = 1 << 20;
        ::setsockopt(kSocketFd, SOL_SOCKET, SO_SNDBUF, &large, sizeof(large));
        return raw(std::string(kPacketMax + 1, 'x'));
    }
    if (how == "no-such-kind") return say({.kind = static_cast<Kind>(999)});
    if (how == "twice") return say({.kind = Kind::kReady}, [](Writer& w) { w.text(""); });
    if (how == "no-such-slot") return say({.kind = Kind::kReport, .table = kSinkTable, .slot = 9});
    if (how == "no-such-table") return say({.kind = Kind::kReport, .table = 9});
    if (how == "short-result") return done(id, [](Writer& w) { w.number<std::uint32_t>(1); });
    if (how == "long-result")
        return done(id, [](Writer& w) {
            put(w, gantry_probe_result{sizeof(gantry_probe_result), 1, 7, host::str("well")});
            w.number<std::uint32_t>(1);
        });
    if (how == "huge-count")
        return say({.kind = Kind::kReport, .table = kLogTable, .slot = 0}, [](Writer& w) {
            w.number<std::uint32_t>(2);
            w.text("text");
            w.number<std::uint64_t>(UINT64_MAX / 16);
        });
    if (how == "huge-text")
        return say({.kind = Kind::kReport, .table = kLogTable, .slot = 0}, [](Writer& w) {
            w.number<std::uint32_t>(2);
            w.number<std::uint64_t>(UINT64_MAX - 4);
        });
    if (how == "a-file")
        return say(
            {.kind = Kind::kRequest, .id = 1},
            [](Writer& w) {
                put(w, gantry_principal{sizeof(gantry_principal), 0, {}, {}, 0, 0});
                for (const char* text : {"GET", "/v1/nodes", ""}) w.text(text);
                w.number<std::uint8_t>(1);
            },
            std::array{::open("/proc/self/exe", O_RDONLY | O_CLOEXEC)});
    if (how == "no-stream")
        return say({.kind = Kind::kRequest, .id = 1}, [](Writer& w) {
            put(w, gantry_principal{sizeof(gantry_principal), 0, {}, {}, 0, 0});
            for (const char* text : {"GET", "/v1/nodes", ""}) w.text(text);
            w.number<std::uint8_t>(1);
        });
    if (how == "others") {  // operations that are not its own, descriptors that nobody asked for
        for (std::uint64_t other = 0; other < 1'000; ++other) {
            if (other != id) right_answer(other);
        }
        const int pairs[] = {0, 1, 2};
        say({.kind = Kind::kPong}, nullptr, pairs);
        return right_answer(id);
    }
    if (how == "deaf") {  // closes its ear and lives on
        ::close(kSocketFd);
        for (;;) ::pause();
    }
    if (how.starts_with("noise-")) return noise(std::strtoull(how.data() + 6, nullptr, 10), id);
    right_answer(id);
}

}  // namespace

int main() {
    Message message;
    std::string how;
    for (;;) {
        pollfd ready{kSocketFd, POLLIN, 0};
        (void)::poll(&ready, 1, -1);
        if (message.receive(kSocketFd) != Message::Got::kOne) return 0;
        Head head;
        std::memcpy(&head, message.bytes().data(), sizeof(head));
        Reader rest(message.bytes().substr(sizeof(head)), message.fds());
        if (head.kind == Kind::kInit) {
            (void)rest.number<std::uint32_t>();
            how = std::string(rest.text()).substr(6);  // "probe.garbage"
            say({.kind = Kind::kReady}, [&](Writer& w) {
                w.text("");
                if (how != "no-facts") w.number<std::uint64_t>(~std::uint64_t{0});
            });
        }
        if (head.kind == Kind::kStart) say({.kind = Kind::kStarted}, [](Writer& w) { w.text(""); });
        if (head.kind == Kind::kCall) misbehave(how, head.id);
        if (head.kind == Kind::kStop) return 0;
    }
}
