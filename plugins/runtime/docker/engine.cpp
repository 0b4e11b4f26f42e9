// SPDX-License-Identifier: Apache-2.0
#include "plugins/runtime/docker/engine.hpp"

#include <charconv>

namespace docker {
namespace {

namespace json = boost::json;
using gantry::Code;
using gantry::Duration;
using gantry::Failure;

constexpr int kOldest = 24, kNewest = 41;  // 1.24 to 1.41
constexpr std::size_t kWordsMax = 400;

// The minor of "1.41"; -1: not of that form.
int minor_of(std::string_view version) {
    if (!version.starts_with("1.")) return -1;
    int out = -1;
    version.remove_prefix(2);
    const auto [end, error] = std::from_chars(version.data(), version.data() + version.size(), out);
    return error == std::errc() && end == version.data() + version.size() ? out : -1;
}

std::chrono::steady_clock::duration now() { return std::chrono::steady_clock::now().time_since_epoch(); }

}  // namespace

std::string Answer::words() const {
    json::error_code error;
    const json::value document = json::parse(body, error);
    std::string out = body;
    if (!error && document.is_object()) {
        // Podman's has "cause" beside it, which the message repeats.
        if (const json::value* said = document.as_object().if_contains("message"); said != nullptr && said->is_string())
            out = said->as_string();
    }
    while (!out.empty() && out.back() == '\n') out.pop_back();
    if (out.empty()) out = "status " + std::to_string(status) + " without a word";
    if (out.size() > kWordsMax) out.resize(kWordsMax);
    return out;
}

const Answer& Answer::expect(std::string_view what, unsigned also) const {
    if (ok() || status == 304 || (also != 0 && status == also)) return *this;
    throw Failure(Code::kFailed, std::string(what) + ": " + words());
}

json::value Answer::json(std::string_view what) const {
    json::error_code error;
    json::value out = json::parse(body, error);
    if (error) throw Failure(Code::kFailed, std::string(what) + ": the engine's answer is no JSON: " + error.message());
    return out;
}

std::string common_version(std::string_view newest) {
    const int both = std::min(minor_of(newest), kNewest);
    if (both < kOldest) {
        throw Failure(Code::kUnsupported, "the engine speaks version " + std::string(newest) +
                                              " of Docker's API, this plugin 1.24 to 1.41: exchange one of them");
    }
    return "1." + std::to_string(both);
}

std::string escaped(std::string_view text) {
    constexpr char kHex[] = "0123456789ABCDEF";
    std::string out;
    for (const char c : text) {
        const auto byte = static_cast<unsigned char>(c);
        if (std::isalnum(byte) != 0 || c == '-' || c == '.' || c == '_' || c == '~') {
            out += c;
        } else {
            out += {'%', kHex[byte >> 4], kHex[byte & 15]};
        }
    }
    return out;
}

Task<std::string> Engine::version(Duration limit) {
    if (!version_.empty()) co_return version_;
    auto connection = co_await Connection::to(socket_, limit);
    // Not /version, for which Podman runs other programs.
    const unsigned status = co_await connection->request("GET", "/_ping", "", false);
    const std::string newest = connection->header("Api-Version");
    if (status != 200 || newest.empty()) {
        throw Failure(Code::kUnsupported, "what listens at " + socket_ +
                                              " does not say which version of Docker's API it "
                                              "speaks: it is no engine, or older than Docker 17");
    }
    version_ = "/v" + common_version(newest);
    co_return version_;
}

Task<Answer> Engine::ask(std::string_view method, std::string target, std::string body, Duration limit) {
    const auto until = now() + limit;
    try {
        target = co_await version(limit) + target;
        auto connection = co_await Connection::to(socket_, until - now());
        Answer answer;
        answer.status = co_await connection->request(method, target, body, false);
        answer.body = co_await connection->body();
        co_return answer;
    } catch (const Failure&) {
        version_.clear();  // another engine may be there next time
        throw;
    }
}

Task<std::unique_ptr<Connection>> Engine::open(std::string_view method, std::string target, std::string body,
                                               Duration limit, bool upgrade) {
    const auto until = now() + limit;
    target = co_await version(limit) + target;
    auto connection = co_await Connection::to(socket_, until - now());
    Answer answer;
    answer.status = co_await connection->request(method, target, body, upgrade);
    if (answer.status == 404 || answer.status == 409) {
        answer.body = co_await connection->body();
        throw Failure(answer.status == 404 ? Code::kNotFound : Code::kConflict, answer.words());
    }
    if (!answer.ok() && answer.status != 101) {
        answer.body = co_await connection->body();
        answer.expect(target);
    }
    co_return connection;
}

}  // namespace docker
