#include <sys/socket.h>

#include <cstdio>
#include <gantry/address.hpp>
#include <gantry/testing/drivers.hpp>

using namespace gantry::testing;

namespace {

void expect(bool condition, const char* what) {
    if (!condition) throw std::runtime_error(what);
}

std::string ask(FakeHost& host, std::uint16_t port, const std::string& name) {
    const gantry::Fd fd(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    const auto to = gantry::SocketAddress::of("127.0.0.1", port);
    ::sendto(fd.get(), name.data(), name.size(), 0, to->raw(), to->length);
    char answer[256];
    ssize_t got = -1;
    host.run_until([&] { return (got = ::recv(fd.get(), answer, sizeof answer, MSG_DONTWAIT)) > 0; });
    return got > 0 ? std::string(answer, static_cast<std::size_t>(got)) : "silence";
}

void answers_from_the_newest_table_alone() {
    FakeHost host;
    Instance& directory = host.load(GANTRY_PLUGIN_FILE, Settings().string("listen", "127.0.0.1:0"));
    DirectoryDriver driver(directory);
    directory.start();
    const std::uint16_t port = driver.facts().port;
    expect(ask(host, port, "axis") == "not found\n", "nothing is known at first");
    driver.replace(1, {{"axis", "10.0.0.1", 80, false, false}, {"Axis", "10.0.0.2", 81, true, true}});
    expect(ask(host, port, "AXIS\n") == "10.0.0.2 81 tls\n", "this node's own goes first");
    driver.replace(2, {{"axis", "10.0.0.1", 80, false, false}, {"axis", "10.0.0.3", 80, false, false}});
    const std::string first = ask(host, port, "axis");
    expect(first != ask(host, port, "axis"), "equals are answered in turn");
    driver.replace(1, {});
    expect(ask(host, port, "axis") != "not found\n", "an older table is ignored");
}

}  // namespace

int main() {
    try {
        answers_from_the_newest_table_alone();
    } catch (const std::exception& failure) {
        std::fprintf(stderr, "failed: %s\n", failure.what());
        return 1;
    }
    return 0;
}
