// vsoa resolve: asks the position servers for a name.
#include "sdk/vsoa/tools/commands.hpp"
#include "sdk/vsoa/tools/text.hpp"
#include "sdk/vsoa/tools/trouble.hpp"

namespace vsoa::tools {

int resolve_name(const ResolveOptions& options, const Settings& settings) {
    std::string name = options.name;
    if (name.find("://") != name.npos) {
        const Target target = parse_target(name);
        if (target.kind != Target::Kind::kName) {
            throw Failure(exit_status::kUsage, "`" + clean(name) + "` is an address, not the name of a service");
        }
        name = target.host;
    }
    const int family = options.v4 ? AF_INET : options.v6 ? AF_INET6 : AF_UNSPEC;
    const Endpoint found = look_up(name, family, settings.timeout_ns);
    if (settings.json) {
        JsonLine line;
        line.text("name", name).text("address", found.ip()).number("port", found.port());
        say(line.number("ip_version", found.storage.ss_family == AF_INET6 ? 6 : 4).boolean("tls", found.secure).done());
    } else {
        say(found.text() + (found.secure ? " tls" : ""));
    }
    return exit_status::kOk;
}

}  // namespace vsoa::tools
