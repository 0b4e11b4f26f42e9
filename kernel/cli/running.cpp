// SPDX-License-Identifier: Apache-2.0
//
// Stop, start and restart.
#include <algorithm>
#include <functional>

#include "kernel/base/units.hpp"
#include "kernel/cli/commands.hpp"
#include "kernel/cli/document.hpp"
#include "kernel/cli/progress.hpp"

namespace gantry::cli {

namespace {

using Reached = std::function<bool(const json::value& service)>;

std::string path_of(const std::string& service) { return "/v1/services/" + encode(service); }

// Looks at a service until it is as it should be. what: "is stopped", for people.
Outcome<int> wait_until(const Session& session, const std::string& service, const std::string& what,
                        milliseconds patience, const Reached& reached) {
    const auto deadline = Clock::now() + patience;
    while (true) {
        GANTRY_TRY(now, session.get(path_of(service)));
        if (reached(now)) {
            if (session.json()) session.show(now);
            return exit_status::kOk;
        }
        if (Clock::now() >= deadline) {
            if (session.json()) session.show(now);
            for (const auto& line : why_not_ready(now)) session.note(line);
            return trouble(exit_status::kNotReady, Code::kDeadline,
                           "after " + format_duration(patience) + " not yet: " + what +
                               "; gantryd goes on with it (`gantry ps` shows how far it is)");
        }
        if (wait_for(-1, 0, std::min(deadline, Clock::now() + milliseconds(100))) == Waited::kInterrupted)
            return trouble(exit_status::kInterrupted, Code::kFailed, "interrupted; gantryd goes on with it");
    }
}

bool is_ready(const json::value& service) { return text_of(service, "state") == "ready"; }

// Asked for, and with `wait` waited for.
Outcome<int> change_service(const Session& session, const std::string& service, const std::string& action,
                            const std::string& begun, const std::string& done, const WaitOptions& options,
                            const Reached& reached) {
    GANTRY_TRY(patience, timeout_of(options.timeout));
    if (options.wait) catch_interrupts();
    GANTRY_TRY(answer, session.change("POST", path_of(service) + "/" + action, json::object()));
    if (session.json())
        session.show(answer);
    else
        session.say_line("service " + service + " " + begun);
    if (!options.wait) return exit_status::kOk;
    GANTRY_TRY(status, wait_until(session, service, "service " + service + " " + done, patience, reached));
    if (!session.json()) session.say_line("service " + service + " " + done);
    return status;
}

const json::value* instance_of(const json::value& service, const std::string& name) {
    for (const auto& instance : items_of(service, "instances"))
        if (text_of(instance, "instance") == name) return &instance;
    return nullptr;
}

Outcome<int> restart_instance(const Session& session, const std::string& name, const WaitOptions& options) {
    GANTRY_TRY(patience, timeout_of(options.timeout));
    const auto service = name.substr(0, name.rfind('.'));
    GANTRY_TRY(before, session.get(path_of(service)));
    const auto* was = instance_of(before, name);
    const auto epoch = was ? number_of(*was, "epoch") : 0, attempt = was ? number_of(*was, "attempt") : 0;
    if (options.wait) catch_interrupts();
    GANTRY_TRY(answer, session.change("POST", "/v1/instances/" + encode(name) + "/restart", json::object()));
    if (session.json())
        session.show(answer);
    else
        session.say_line(name + " on " + text_of(answer, "node") + " is being restarted");
    if (!options.wait) return exit_status::kOk;
    const auto reached = [&](const json::value& now) {
        const auto* instance = instance_of(now, name);
        return instance && text_of(*instance, "state") == "ready" &&
               (number_of(*instance, "epoch") != epoch || number_of(*instance, "attempt") != attempt);
    };
    GANTRY_TRY(status, wait_until(session, service, name + " is ready again", patience, reached));
    if (!session.json()) session.say_line(name + " is ready again");
    return status;
}

}  // namespace

Outcome<int> stop(const Session& session, const std::string& service, const WaitOptions& options) {
    auto done = change_service(session, service, "stop", "is being stopped; gantry start " + service + " runs it again",
                               "is stopped", options,
                               [](const json::value& now) { return text_of(now, "state") == "stopped"; });
    const bool none = !done && done.error().status == exit_status::kNotFound;
    if (!none || service.find('.') == std::string::npos) return done;
    return trouble(exit_status::kNotFound, Code::kNotFound,
                   "there is no service " + service + "; one instance is not stopped alone: gantry pause " + service +
                       " has it stand still, gantry restart " + service + " ends it and starts it again");
}

Outcome<int> start(const Session& session, const std::string& service, const WaitOptions& options) {
    return change_service(session, service, "start", "is started", "is ready", options, is_ready);
}

Outcome<int> restart(const Session& session, const std::string& target, const WaitOptions& options) {
    auto done =
        change_service(session, target, "restart", "is restarted: each instance is replaced as its [update] says",
                       "is ready again", options, is_ready);
    const bool none = !done && done.error().status == exit_status::kNotFound;
    if (!none || target.find('.') == std::string::npos) return done;
    return restart_instance(session, target, options);
}

}  // namespace gantry::cli
