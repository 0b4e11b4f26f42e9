// SPDX-License-Identifier: Apache-2.0
#include "plugins/runtime/monitored/program.hpp"

#include <algorithm>

namespace monitored {
namespace {

constexpr std::string_view kDefaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

void put_env(std::vector<std::string>& env, std::string_view name, std::string_view value) {
    const std::string prefix = std::string(name) + "=";
    std::string line = prefix + std::string(value);
    const auto same = std::ranges::find_if(env, [&](const std::string& old) { return old.starts_with(prefix); });
    if (same == env.end()) {
        env.push_back(std::move(line));
    } else {
        *same = std::move(line);
    }
}

}  // namespace

bool Program::has_env(std::string_view name) const {
    const std::string prefix = std::string(name) + "=";
    return std::ranges::any_of(env, [&](const std::string& line) { return line.starts_with(prefix); });
}

Program program_of(const gantry::ContainerSpec& spec, const image_store::ImageConfig& image) {
    Program out;
    out.args = spec.args;
    if (out.args.empty()) {
        out.args = image.entrypoint;
        out.args.insert(out.args.end(), image.cmd.begin(), image.cmd.end());
    }
    if (out.args.empty() || out.args.front().empty()) {
        throw gantry::Failure(
            gantry::Code::kInvalid,
            "container \"" + spec.name + "\": neither the manifest nor the image says what to run; give `args`");
    }
    for (const std::string& arg : out.args) {
        if (arg.find('\0') != std::string::npos) {
            throw gantry::Failure(gantry::Code::kInvalid, "container \"" + spec.name + "\": an argument holds a NUL");
        }
    }
    for (const std::string& line : image.env) {
        const std::size_t equals = line.find('=');
        if (equals != std::string::npos && equals > 0)
            put_env(out.env, line.substr(0, equals), line.substr(equals + 1));
    }
    if (!out.has_env("PATH")) put_env(out.env, "PATH", kDefaultPath);
    for (const auto& [name, value] : spec.env) put_env(out.env, name, value);
    out.cwd = !spec.cwd.empty() ? spec.cwd : !image.cwd.empty() ? image.cwd : "/";
    if (out.cwd.front() != '/') {
        throw gantry::Failure(gantry::Code::kInvalid, "container \"" + spec.name + "\": working directory \"" +
                                                          out.cwd + "\" must be absolute");
    }
    out.user = !spec.user.empty() ? spec.user : image.user;
    return out;
}

}  // namespace monitored
