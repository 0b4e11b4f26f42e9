#include <sys/socket.h>
#include <sys/un.h>

#include <cstdio>
#include <cstring>
#include <gantry/testing/drivers.hpp>

using namespace gantry::testing;

namespace {

void expect(bool condition, const char* what) {
    if (!condition) throw std::runtime_error(what);
}

gantry::Fd connect_to(const std::string& path) {
    gantry::Fd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_un name{};
    name.sun_family = AF_UNIX;
    std::strncpy(name.sun_path, path.c_str(), sizeof name.sun_path - 1);
    expect(::connect(fd.get(), reinterpret_cast<sockaddr*>(&name), sizeof name) == 0, "the door is open");
    return fd;
}

void passes_questions_on_and_says_who_asks() {
    FakeHost host;
    const std::string path = host.folder() + "/door";
    Instance& frontend = host.load(GANTRY_PLUGIN_FILE, Settings().string("socket", path));
    FrontendDriver driver(frontend);
    std::vector<gantry::ControlRequest> asked;
    host.tree = [&asked](ControlCall call) {
        asked.push_back(call.request);
        call.answer({200, 0, "{\"number\": " + std::to_string(asked.size()) + "}"});
    };
    frontend.start();
    expect(driver.address() == "unix:" + path, "it says where it is");
    const gantry::Fd client = connect_to(path);
    const std::string questions = "GET /v1/nodes\nPUT /v1/services/axis {\"a\": 1}\n";
    ::send(client.get(), questions.data(), questions.size(), MSG_NOSIGNAL);
    std::string answers;
    host.run_until([&] {
        char buffer[256];
        const ssize_t got = ::recv(client.get(), buffer, sizeof buffer, MSG_DONTWAIT);
        if (got > 0) answers.append(buffer, static_cast<std::size_t>(got));
        return answers.ends_with("2}\n");
    });
    expect(answers == "200 {\"number\": 1}\n200 {\"number\": 2}\n", "both are answered, in order");
    expect(asked[1].method == "PUT" && asked[1].path == "/v1/services/axis" && asked[1].body == "{\"a\": 1}",
           "the line's parts");
    expect(asked[0].principal.kind == "unix" && asked[0].principal.uid == ::getuid(), "who asks is said");
}

}  // namespace

int main() {
    try {
        passes_questions_on_and_says_who_asks();
    } catch (const std::exception& failure) {
        std::fprintf(stderr, "failed: %s\n", failure.what());
        return 1;
    }
    return 0;
}
