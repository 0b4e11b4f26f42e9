#include <cstdio>
#include <fstream>
#include <gantry/testing/drivers.hpp>

using namespace gantry::testing;
using gantry::Channel;
using gantry::Code;

namespace {

void expect(bool condition, const char* what) {
    if (!condition) throw std::runtime_error(what);
}

struct End {
    End(FakeHost& host, const char* secret)
        : instance(host.load(GANTRY_PLUGIN_FILE, Settings().string("secret_file", write(host, secret)))),
          driver(instance) {
        instance.start();
    }
    static std::string write(FakeHost& host, const char* secret) {
        const std::string path = host.folder() + "/" + secret;
        std::ofstream(path) << secret;
        return path;
    }
    Instance& instance;
    TransportDriver driver;
};

void carries_messages_between_those_who_know_the_secret() {
    FakeHost host;
    End server(host, "a secret of 18 bytes"), client(host, "a secret of 18 bytes"), stranger(host, "any other secret");
    const std::string address = server.driver.listen("127.0.0.1:0").wait().result.address;
    const auto dialled = client.driver.dial(address).wait();
    expect(dialled.ok(), "dialling succeeds");
    expect(client.driver.send(dialled.result.peer, Channel::kBulk, std::string(500'000, 'x')) == Code::kOk, "bulk");
    expect(client.driver.send(dialled.result.peer, Channel::kControl, "hello") == Code::kOk, "control");
    expect(host.run_until([&] { return server.driver.messages.size() == 2; }), "both arrive");

    expect(stranger.driver.dial(address).wait().code == Code::kDenied, "a stranger is denied");
    expect(host.run_until([&] { return !server.driver.refusals.empty(); }), "which the server hears of");

    client.driver.close(dialled.result.peer);
    expect(host.run_until([&] { return !server.driver.downs.empty() && !client.driver.downs.empty(); }), "down");
    expect(server.driver.downs.front().reason == gantry::Down::kClosed, "in order");
}

}  // namespace

int main() {
    try {
        carries_messages_between_those_who_know_the_secret();
    } catch (const std::exception& failure) {
        std::fprintf(stderr, "failed: %s\n", failure.what());
        return 1;
    }
    return 0;
}
