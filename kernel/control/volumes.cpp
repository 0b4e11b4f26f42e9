// SPDX-License-Identifier: Apache-2.0
#include "kernel/control/volumes.hpp"

#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <memory>
#include <optional>
#include <sstream>

#include "kernel/control/files.hpp"
#include "kernel/host/host.hpp"

namespace gantry::control {

namespace {

constexpr Duration kUsersLimit = seconds(10);
constexpr const char* kLabel = "gantry.volumes";  // of a container: names with blanks between them

void take_names(const host::Labels& labels, const std::string& container,
                std::map<std::string, std::set<std::string>>& users) {
    for (const auto& [key, value] : labels) {
        if (key != kLabel) continue;
        std::istringstream names(value);
        for (std::string name; names >> name;) users[name].insert(container);
    }
}

// Whoever the container runs as may write there, as in /tmp; nobody else on the node gets past the folder above.
Status make_folder(const std::filesystem::path& folder) {
    if (::mkdir(folder.parent_path().c_str(), 0700) != 0 && errno != EEXIST)
        return fail_errno("cannot make " + folder.parent_path().string());
    if (::mkdir(folder.c_str(), 0700) != 0) {
        if (errno == EEXIST) return {};
        return fail_errno("cannot make the volume " + folder.string());
    }
    if (::chmod(folder.c_str(), 01777) != 0) return fail_errno("cannot open the volume " + folder.string());
    return sync_folder(folder.parent_path());
}

}  // namespace

Status Volumes::prepare(host::ContainerSpec& spec) {
    std::string names;
    for (auto& mount : spec.mounts) {
        if (mount.source.starts_with('/')) continue;
        if (removing_.contains(mount.source))
            return fail(Code::kUnavailable, "the volume " + mount.source + " is being removed");
        names += (names.empty() ? "" : " ") + mount.source;
        const auto folder = dir_ / mount.source;
        GANTRY_CHECK(make_folder(folder));
        mount.source = folder.string();
    }
    if (names.empty()) return {};
    spec.labels.emplace_back(kLabel, names);
    std::sort(spec.labels.begin(), spec.labels.end());
    take_names(spec.labels, spec.name, preparing_);
    return {};
}

void Volumes::prepared(const host::ContainerSpec& spec) {
    for (auto& [name, containers] : preparing_) containers.erase(spec.name);
    std::erase_if(preparing_, [](const auto& entry) { return entry.second.empty(); });
}

void Volumes::users(std::function<void(Result<Users>)> done) {
    struct Round {
        std::size_t left = 1;
        Users users;
        std::optional<Error> error;
        std::function<void(Result<Users>)> done;
        void end_one() {
            if (--left > 0) return;
            if (error) return done(std::unexpected(*error));
            done(std::move(users));
        }
    };
    const auto round = std::make_shared<Round>();
    round->users = preparing_;
    round->done = std::move(done);
    for (const auto& [name, runtime] : host_.runtimes()) {
        ++round->left;
        runtime->list(kUsersLimit, [round, runtime_name = name](Result<std::vector<host::Container>> list) {
            if (list)
                for (const auto& container : *list) take_names(container.labels, container.name, round->users);
            else
                round->error = Error{Code::kUnavailable, "runtime " + runtime_name +
                                                             " does not say which containers it "
                                                             "has, so nobody knows who uses a volume: " +
                                                             list.error().text()};
            round->end_one();
        });
    }
    round->end_one();
}

void Volumes::list(Answer answer) {
    users([this, answer = std::move(answer)](Result<Users> users) {
        if (!users) return answer(std::unexpected(users.error()));
        std::set<std::filesystem::path> folders;
        std::error_code error;
        for (std::filesystem::directory_iterator at(dir_, error), end; !error && at != end; at.increment(error))
            folders.insert(at->path());
        json::array items;
        for (const auto& folder : folders) {
            const auto& who = (*users)[folder.filename().string()];
            items.push_back(json::object{{"name", folder.filename().string()},
                                         {"path", folder.string()},
                                         {"used_by", json::array(who.begin(), who.end())}});
        }
        answer(json::object{{"items", std::move(items)}, {"revision", 0}});
    });
}

void Volumes::remove(const std::string& name, Answer answer) {
    const auto folder = dir_ / name;
    std::error_code error;
    // A name from outside: one part of a path, and no dots.
    if (name.empty() || name.starts_with('.') || name.find('/') != std::string::npos ||
        !std::filesystem::is_directory(std::filesystem::symlink_status(folder, error)))
        return answer(fail(Code::kNotFound, "there is no volume " + name + " on this node"));
    if (!removing_.insert(name).second)
        return answer(fail(Code::kConflict, "the volume " + name + " is being removed already"));
    users([this, name, folder, answer = std::move(answer)](Result<Users> users) {
        const auto refuse = [&](Error why) {
            removing_.erase(name);
            answer(std::unexpected(std::move(why)));
        };
        if (!users) return refuse(users.error());
        if (const auto& who = (*users)[name]; !who.empty())
            return refuse({Code::kConflict, "the volume " + name + " is used by " + *who.begin() +
                                                (who.size() > 1 ? " and others" : "") +
                                                "; take it out of the manifest, or remove the service, first"});
        const auto failed = std::make_shared<std::error_code>();
        files_.run([folder, failed] { std::filesystem::remove_all(folder, *failed); },
                   [this, name, failed, answer](const Status& ran) {
                       removing_.erase(name);
                       if (!ran) return answer(std::unexpected(ran.error()));
                       if (*failed)
                           return answer(fail(Code::kFailed, "cannot remove all of the volume " + name + ": " +
                                                                 failed->message() + "; try again"));
                       answer(json::object{{"name", name}, {"removed", true}});
                   });
    });
}

}  // namespace gantry::control
