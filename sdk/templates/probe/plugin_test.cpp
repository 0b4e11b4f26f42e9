#include <sys/socket.h>

#include <cstdio>
#include <gantry/address.hpp>
#include <gantry/testing/drivers.hpp>
#include <thread>

using namespace gantry::testing;
using gantry::ProbeResult;
using gantry::Verdict;

namespace {

void expect(bool condition, const char* what) {
    if (!condition) throw std::runtime_error(what);
}

// A service on a free port of the loopback device that says `greeting` to whoever connects first, and nothing if empty.
class Service {
  public:
    explicit Service(std::string greeting) : fd_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
        const auto any = gantry::SocketAddress::of("127.0.0.1", 0);
        expect(::bind(fd_.get(), any->raw(), any->length) == 0 && ::listen(fd_.get(), 8) == 0, "a service listens");
        if (greeting.empty()) return;
        thread_ = std::thread([this, greeting] {
            const gantry::Fd client(::accept(fd_.get(), nullptr, nullptr));
            if (client) ::send(client.get(), greeting.data(), greeting.size(), MSG_NOSIGNAL);
        });
    }
    ~Service() {
        ::shutdown(fd_.get(), SHUT_RDWR);
        if (thread_.joinable()) thread_.join();
    }
    std::uint16_t port() const { return gantry::SocketAddress::local(fd_.get()).port(); }

  private:
    gantry::Fd fd_;
    std::thread thread_;
};

gantry::ProbeRequest question(std::uint16_t port, const char* wanted) {
    return {"container", "127.0.0.1", port, {{"expect", wanted}}};
}

void judges_the_greeting() {
    FakeHost host;
    Instance& probe = host.load(GANTRY_PLUGIN_FILE);
    ProbeDriver driver(probe);
    probe.start();
    const Service right("220 ready\r\n"), wrong("500 no\r\n");
    expect(driver.check(question(right.port(), "220")).wait().result.verdict == Verdict::kHealthy, "220 is healthy");
    expect(driver.check(question(wrong.port(), "220")).wait().result.verdict == Verdict::kUnhealthy, "500 is not");
    expect(driver.check(question(1, "220")).wait().result.verdict == Verdict::kUnhealthy, "a closed port is not");
}

void silence_is_unhealthy_before_the_deadline() {
    FakeHost host;
    Instance& probe = host.load(GANTRY_PLUGIN_FILE);
    ProbeDriver driver(probe);
    probe.start();
    probe.limit = std::chrono::seconds(1);
    const Service silent("");
    auto check = driver.check(question(silent.port(), ""));
    host.advance(std::chrono::milliseconds(950));
    const auto answer = check.wait();
    expect(answer.ok() && answer.result.verdict == Verdict::kUnhealthy, "unhealthy, and said by the probe");
}

}  // namespace

int main() {
    try {
        judges_the_greeting();
        silence_is_unhealthy_before_the_deadline();
    } catch (const std::exception& failure) {
        std::fprintf(stderr, "failed: %s\n", failure.what());
        return 1;
    }
    return 0;
}
