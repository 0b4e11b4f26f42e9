// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "kernel/base/units.hpp"
#include "kernel/cli/commands.hpp"
#include "kernel/cli/document.hpp"
#include "kernel/cli/event_feed.hpp"
#include "kernel/cli/manifest.hpp"
#include "kernel/cli/progress.hpp"

namespace gantry::cli {

namespace {

constexpr auto kLook = milliseconds(500);                   // between looks at the service when no event comes
constexpr auto kPendingPatience = std::chrono::seconds(5);  // nodes may just be joining
constexpr auto kFailingPatience = std::chrono::seconds(10);
constexpr auto kAwayPatience = std::chrono::seconds(30);  // gantryd may be restarted
constexpr std::int64_t kCrashes = 3;                      // in a row, then it is called failing

// image: its name and its digest, which is all that a node knows of it.
bool concerns(const json::value& event, const std::string& service, const std::vector<std::string>& image) {
    const auto* fields = member_of(event, "fields");
    const json::value& place = fields ? *fields : event;
    if (text_of(place, "service") == service || text_of(place, "instance").starts_with(service + ".")) return true;
    const auto about = text_of(place, "image");
    return !about.empty() && std::find(image.begin(), image.end(), about) != image.end();
}

class Follower {
  public:
    Follower(const Session& session, const Manifest& manifest, const DeployOptions& options, milliseconds patience,
             std::int64_t revision)
        : session_(session),
          manifest_(manifest),
          options_(options),
          patience_(patience),
          revision_(revision),
          progress_(session, manifest.name(), revision) {}

    Outcome<int> run(std::int64_t after) {
        EventFeed feed(session_, after);
        const auto deadline = Clock::now() + patience_;
        while (true) {
            GANTRY_TRY(done, look());
            if (done) return exit_status::kOk;
            if (Clock::now() >= deadline) {
                return not_ready("is not ready after " + format_duration(patience_), Code::kDeadline);
            }
            const auto until = std::min(deadline, Clock::now() + kLook);
            GANTRY_CHECK(take_events(feed, until));
        }
    }

    // The last lines of a deployment that did not get ready.
    void end() { progress_.end(); }

  private:
    // True: ready.
    Outcome<bool> look() {
        auto service = session_.get("/v1/services/" + encode(manifest_.name()));
        if (!service) return look_failed(std::move(service).error());
        last_ = std::move(*service);
        seen_at_ = Clock::now();
        progress_.state(last_);
        if (number_of(last_, "revision") > revision_ && number_of(last_, "rollback_of") != 0)
            return not_ready("failed as revision " + std::to_string(revision_) + " and goes back to revision " +
                                 text_of(last_, "rollback_of"),
                             Code::kFailed);
        if (is_ready()) {
            progress_.end();
            say_ready();
            return true;
        }
        if (flag_of(last_, "stopped")) {
            progress_.end();
            if (session_.json())
                session_.show(last_);
            else
                session_.say_line("service " + manifest_.name() + " is deployed and stays stopped: gantry start " +
                                  manifest_.name() + " runs it");
            return true;
        }
        if (!options_.wait) GANTRY_CHECK(stuck());
        return false;
    }

    Outcome<bool> look_failed(Trouble why) const {
        if (why.status == exit_status::kNotFound) {
            return trouble(exit_status::kFailed, Code::kConflict,
                           "service " + manifest_.name() + " was removed while it was deployed");
        }
        const bool passing = why.status == exit_status::kUnreachable || why.error.code == Code::kUnavailable ||
                             why.error.code == Code::kUnknown;
        if (passing && Clock::now() - seen_at_ < kAwayPatience) return false;
        return std::unexpected(std::move(why));
    }

    bool is_ready() const {
        return text_of(last_, "state") == "ready" && number_of(last_, "revision", revision_) >= revision_;
    }

    void say_ready() const {
        if (session_.json()) return session_.show(last_);
        std::string places;
        std::size_t count = 0;
        for (const auto& instance : items_of(last_, "instances")) {
            if (++count > 5) continue;
            places +=
                (places.empty() ? ": " : ", ") + text_of(instance, "instance") + " on " + text_of(instance, "node");
        }
        if (count > 5) places += " and " + std::to_string(count - 5) + " more";
        session_.say_line("service " + manifest_.name() + " is ready" + places + " (" + progress_.elapsed() + ")");
    }

    // Ends early where waiting on promises nothing; what is placed or restarted later is so without this command.
    Outcome<bool> stuck() {
        const auto state = text_of(last_, "state");
        if (state != state_) {
            state_ = state;
            state_since_ = Clock::now();
        }
        const auto lasted = Clock::now() - state_since_;
        if (state == "pending" && lasted >= kPendingPatience) {
            return not_ready("is pending: no node fits", Code::kUnavailable);
        }
        const auto& all = items_of(last_, "instances");
        const bool crashing = std::any_of(all.begin(), all.end(), [&](const json::value& instance) {
            return number_of(instance, "crashes") >= kCrashes &&
                   number_of(instance, "revision", revision_) >= revision_;
        });
        if (crashing || (state == "failing" && lasted >= kFailingPatience)) {
            return not_ready("is failing", Code::kFailed);
        }
        return false;
    }

    std::unexpected<Trouble> not_ready(const std::string& what, Code code) {
        progress_.end();
        if (session_.json()) session_.show(last_);
        for (const auto& line : why_not_ready(last_)) session_.note(line);
        return trouble(exit_status::kNotReady, code,
                       "service " + manifest_.name() + " " + what +
                           "; it stays deployed and gantryd goes on trying (`gantry explain " + manifest_.name() +
                           "` says more, `gantry rm " + manifest_.name() + "` takes it back)");
    }

    // Waits for something to happen, then takes all that is there.
    Outcome<bool> take_events(EventFeed& feed, Clock::time_point until) {
        const std::vector<std::string> image{text_of(last_, "image"), text_of(last_, "image_digest")};
        for (bool happened = false; true;) {
            const auto left = std::chrono::ceil<milliseconds>(until - Clock::now());
            GANTRY_TRY(event, feed.next(happened ? milliseconds(0) : std::max(left, milliseconds(0))));
            if (!event) return true;
            if (!concerns(*event, manifest_.name(), image)) continue;
            progress_.event(*event);
            happened = true;
        }
    }

    const Session& session_;
    const Manifest& manifest_;
    const DeployOptions& options_;
    milliseconds patience_;
    std::int64_t revision_;
    Progress progress_;
    json::value last_;
    std::string state_;
    Clock::time_point state_since_ = Clock::now(), seen_at_ = Clock::now();
};

void show_dry_run(const Session& session, const json::value& answer) {
    if (session.json()) return session.show(answer);
    Table difference({"FIELD", "FROM", "TO"});
    for (const auto& change : items_of(answer, "difference")) {
        difference.add({text_of(change, "field"), text_of(change, "from"), text_of(change, "to")});
    }
    if (difference.size() > 0) {
        session.show(difference);
    } else {
        session.say_line("no change");
    }
    if (const auto how = text_of(answer, "rollout"); !how.empty()) session.say_line("rollout: " + how);
    Table placement({"INSTANCE", "NODE", "REASON"});
    for (const auto& place : items_of(answer, "placement")) {
        placement.add({text_of(place, "instance"), text_of(place, "node"), text_of(place, "reason")});
    }
    if (placement.size() == 0) return;
    session.say_line("");
    session.show(placement);
}

// The image that the manifest names is in the store from here on, where its registry and the policy can do that.
Outcome<bool> bring_image(const Session& session, Manifest& manifest, const std::string& policy) {
    const auto image = manifest.image();
    if (image.find_first_of("@#/") == std::string::npos) return true;  // a plain name of the store
    auto name = image_in_store(session, image, policy);
    if (!name) {
        if (name.error().error.where.empty()) name.error().error.where = "service.image";
        return std::unexpected(manifest.explain(std::move(name).error()));
    }
    manifest.set_image(*name);
    return true;
}

}  // namespace

Outcome<int> deploy(const Session& session, const DeployOptions& options) {
    GANTRY_TRY(patience, timeout_of(options.timeout));
    GANTRY_TRY(manifest, Manifest::read(options.file));
    GANTRY_TRY(written_policy, manifest.take_pull());
    const auto policy = !options.pull.empty() ? options.pull : written_policy;
    const auto target = "/v1/services/" + encode(manifest.name());
    if (options.dry_run) {
        auto answer = session.change("PUT", target + "?dry_run=1", manifest.document());
        if (!answer) return std::unexpected(manifest.explain(std::move(answer).error()));
        for (const auto& warning : items_of(*answer, "warnings")) session.note("warning: " + written(warning));
        show_dry_run(session, *answer);
        return exit_status::kOk;
    }
    GANTRY_CHECK(bring_image(session, manifest, policy));
    GANTRY_TRY(after, last_event(session));
    // Ctrl-C before this point leaves nothing; after it the deployment goes on without this command.
    catch_interrupts();
    auto answer = session.change("PUT", target, manifest.document());
    if (!answer) return std::unexpected(manifest.explain(std::move(answer).error()));
    for (const auto& warning : items_of(*answer, "warnings")) session.note("warning: " + written(warning));
    if (session.json()) session.show(*answer);
    if (!flag_of(*answer, "changed")) {
        if (!session.json()) session.say_line("service " + manifest.name() + ": no change");
        return exit_status::kOk;
    }
    Follower follower(session, manifest, options, patience, number_of(*answer, "revision"));
    auto result = follower.run(after);
    if (result) return result;
    follower.end();
    if (result.error().status != exit_status::kInterrupted) return result;
    return trouble(exit_status::kInterrupted, Code::kFailed,
                   "interrupted; the deployment of " + manifest.name() +
                       " goes on without this command (`gantry services` shows it, `gantry rm " + manifest.name() +
                       "` takes it back)");
}

}  // namespace gantry::cli
