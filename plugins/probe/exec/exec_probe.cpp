// SPDX-License-Identifier: Apache-2.0
//
// probe/exec: a container is well when a command in it ends with status 0. The plugin runs nothing: it asks the node's
// resource tree, behind which the runtime that has the container runs the command and ends it when its time is over.
#include <boost/json.hpp>
#include <gantry/probe.hpp>
#include <map>

#include "plugins/probe/endpoint/endpoint.hpp"
#include "plugins/probe/endpoint/params.hpp"

namespace {

namespace json = boost::json;
using gantry::Code;
using gantry::Duration;
using gantry::Failure;
using gantry::Instant;
using gantry::ProbeResult;
using gantry::Verdict;
using CheckOp = gantry::Operation<ProbeResult>;

constexpr std::int64_t kOutputMost = 512;  // bytes that people are shown

// `command = ["/bin/check", "-v"]` as it is, `command = "check | grep ok"` by the container's shell.
json::array command_of(const gantry::ProbeRequest& request) {
    const probe_endpoint::Params params(request.params, {"command", "password"});
    const std::string* text = nullptr;
    for (const auto& [key, value] : request.params) {
        if (key == "command") text = &value;
    }
    if (text == nullptr || text->empty())
        throw Failure(Code::kInvalid,
                      "`command` is missing: expected [\"/bin/check\", \"-v\"] or a line for the shell");
    if (text->front() != '[') return {"/bin/sh", "-c", params.text("command")};
    const auto list = params.list("command");
    if (list.empty() || list.front().empty())
        throw Failure(Code::kInvalid, "`command` is empty: expected a program and its arguments");
    return json::array(list.begin(), list.end());
}

std::string words(const gantry::ControlResponse& response, const char* member) {
    json::error_code error;
    const json::value document = json::parse(response.body, error);
    if (error || !document.is_object()) return {};
    const json::value* value = document.get_object().if_contains(member);
    if (value != nullptr && value->is_object()) value = value->get_object().if_contains("message");
    if (value == nullptr) return {};
    return value->is_string() ? std::string(value->get_string()) : json::serialize(*value);
}

class ExecProbe final : public gantry::Probe {
  public:
    void check(CheckOp op, gantry::ProbeRequest request) override {
        const std::uint64_t id = op.id();
        const Instant started = host().now();
        json::array command;
        try {
            command = command_of(request);
        } catch (const Failure& failure) {
            return op.done({Verdict::kUnknown, {}, failure.what()});
        }
        const Duration limit = probe_endpoint::patience(op.deadline() - started);
        Check& check = checks_.emplace(id, Check{std::move(op), started, 0}).first->second;
        check.timer = host().timer(limit, [this, id] { finish(id, Verdict::kUnhealthy, "did not end in time"); });
        const auto within = std::chrono::duration_cast<std::chrono::milliseconds>(probe_endpoint::patience(limit));
        const json::object body{{"args", std::move(command)},
                                {"timeout_ms", std::max<std::int64_t>(within.count(), 1)},
                                {"output_max", kOutputMost}};
        const gantry::Status asked =
            host().request({{"plugin", "probe/exec"},
                            "POST",
                            "/v1/node/containers/" + request.container + "/exec",
                            json::serialize(body)},
                           [this, id](const gantry::ControlResponse& response) { judge(id, response); });
        if (!asked) finish(id, Verdict::kUnknown, "cannot ask: " + std::string(asked.text()));
    }

    void stop(Instant) override {
        while (!checks_.empty()) finish(checks_.begin()->first, Verdict::kUnknown, "the probe is stopping");
    }

  private:
    struct Check {
        CheckOp op;
        Instant started{};
        gantry::TimerId timer = 0;
    };

    void judge(std::uint64_t id, const gantry::ControlResponse& response) {
        if (response.code == 200) {
            const std::string status = words(response, "exit_code"), output = words(response, "output");
            return finish(id, status == "0" ? Verdict::kHealthy : Verdict::kUnhealthy,
                          "exit status " + status + (output.empty() ? "" : ": " + output));
        }
        const std::string why = words(response, "error");
        // Its command is not in the container, did not end, or has no room there; what else went wrong is not its
        // fault.
        const bool its_own = response.code == 404 || response.code == 504 || response.code == 507;
        finish(id, its_own ? Verdict::kUnhealthy : Verdict::kUnknown,
               (its_own ? "" : "cannot ask: ") + (why.empty() ? "status " + std::to_string(response.code) : why));
    }

    void finish(std::uint64_t id, Verdict verdict, const std::string& detail) {
        const auto at = checks_.find(id);
        if (at == checks_.end()) return;
        Check check = std::move(at->second);
        checks_.erase(at);
        host().cancel(check.timer);
        const bool answered = verdict == Verdict::kHealthy || detail.starts_with("exit status");
        check.op.done({verdict, answered ? host().now() - check.started : Duration{}, detail});
    }

    std::map<std::uint64_t, Check> checks_;  // by operation
};

}  // namespace

GANTRY_PLUGIN(ExecProbe)
