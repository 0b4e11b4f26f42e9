// Texts that say where a server is: vsoa:// urls, addresses, VSOA_POS_SERVER and the lines of /etc/vsoa.pos.
#include <sys/mman.h>
#include <unistd.h>

#include <string>

#include "sdk/vsoa/src/position.hpp"
#include "sdk/vsoa/src/robot.hpp"
#include "tests/fuzz/targets/input.hpp"

using fuzz::demand;
using vsoa::Address;

namespace {

std::string write(const Address& address) {
    const std::string port = ':' + std::to_string(address.port());
    return address.family() == AF_INET6 ? '[' + address.ip() + ']' + port : address.ip() + port;
}

void check(const Address& address) {
    demand(address.port() != 0, "addresses have a port");
    const auto again = Address::parse(write(address), 0);
    demand(again && again->same(address), "an address written is the same");
}

void url(std::string_view text) {
    vsoa::Robot::Settings settings;
    if (!vsoa::Robot::read_server(text, settings)) return;
    if (settings.address) return check(*settings.address);
    const std::string& host = settings.host;
    demand(!host.empty() && host.size() <= VSOA_POSITION_MAX_NAME_LEN, "names have a length");
    demand(host.find_first_of(":/") == host.npos, "a name is neither port nor path");
    demand(!Address::parse(host, 1), "an address is no name");
}

void servers(const char* list, const char* file) {
    const auto servers = vsoa::position::configured_servers(list, file);
    demand(servers.size() <= vsoa::position::kMaxServers, "servers are bounded");
    for (const Address& server : servers) check(server);
}

void servers_file(std::span<const uint8_t> bytes) {
    static const int fd = memfd_create("vsoa.pos", MFD_CLOEXEC);
    static const std::string path = "/proc/self/fd/" + std::to_string(fd);
    demand(fd >= 0 && ftruncate(fd, 0) == 0, "a file in memory");
    demand(pwrite(fd, bytes.data(), bytes.size(), 0) == static_cast<ssize_t>(bytes.size()), "a file in memory");
    servers(nullptr, path.c_str());
}

}  // namespace

int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
    const fuzz::Input input(bytes, size);
    const std::string text(input.text());
    switch (input.how % 4) {
        case 0:
            if (const auto address = Address::parse(text, 54)) check(*address);
            break;
        case 1:
            url(text);
            break;
        case 2:
            servers(text.c_str(), "/dev/null");
            break;
        default:
            servers_file(input.what);
    }
    return 0;
}
