// SPDX-License-Identifier: Apache-2.0
//
// discovery/static: controllers and expected nodes as the operator wrote them down.
#include <arpa/inet.h>

#include <charconv>
#include <gantry/discovery.hpp>

namespace {

constexpr std::size_t kName = 63;  // bytes of a node's name

bool is_port(std::string_view text) {
    unsigned port = 0;
    const auto [end, ec] = std::from_chars(text.data(), text.data() + text.size(), port);
    return ec == std::errc() && end == text.data() + text.size() && port >= 1 && port <= 65'535;
}

bool is_ip(int family, std::string_view text) {
    unsigned char address[sizeof(in6_addr)];
    return inet_pton(family, std::string(text).c_str(), address) == 1;
}

// "10.0.0.1:3900" or "[fd00::1]:3900".
bool is_endpoint(std::string_view text) {
    const auto colon = text.rfind(':');
    if (colon == std::string_view::npos || colon == 0 || !is_port(text.substr(colon + 1))) return false;
    const auto host = text.substr(0, colon);
    if (host.front() == '[') return host.back() == ']' && is_ip(AF_INET6, host.substr(1, host.size() - 2));
    return is_ip(AF_INET, host);
}

[[noreturn]] void refuse(const char* key, std::size_t index, const std::string& expected, const std::string& got) {
    throw gantry::Failure(gantry::Code::kInvalid, std::string(key) + "[" + std::to_string(index) + "]: expected " +
                                                      expected + ", got \"" + got + "\"");
}

}  // namespace

class StaticDiscovery final : public gantry::Discovery {
  public:
    void init(const gantry::Config& config) override {
        const auto& controllers = config.list("controllers");
        for (std::size_t i = 0; i < controllers.size(); ++i) {
            if (!is_endpoint(controllers[i]))
                refuse("controllers", i, "IP:PORT (\"10.0.0.1:3900\", \"[fd00::1]:3900\"; names are not resolved)",
                       controllers[i]);
            known_.push_back({true, {}, controllers[i], {}});
        }
        const auto& nodes = config.list("nodes");
        for (std::size_t i = 0; i < nodes.size(); ++i) {
            if (nodes[i].empty() || nodes[i].size() > kName) refuse("nodes", i, "a name of 1 to 63 bytes", nodes[i]);
            known_.push_back({false, nodes[i], {}, {}});
        }
    }

    void begin_search() override { refresh(); }
    void refresh() override {
        for (const gantry::Discovered& endpoint : known_) events().found(endpoint);
    }

  private:
    std::vector<gantry::Discovered> known_;
};

GANTRY_PLUGIN(StaticDiscovery)
