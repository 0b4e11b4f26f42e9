// SPDX-License-Identifier: Apache-2.0
#include "kernel/cli/session.hpp"

#include <unistd.h>

#include <cstdio>
#include <cstdlib>

namespace gantry::cli {

namespace {

bool color_wanted(const Session::Options& options) {
    const char* no_color = std::getenv("NO_COLOR");
    return !options.no_color && !(no_color && *no_color) && is_terminal(STDOUT_FILENO);
}

Outcome<json::value> document_of(Outcome<Answer> answer) {
    if (!answer) return std::unexpected(std::move(answer).error());
    if (answer->code >= 400) return std::unexpected(refusal(*answer));
    return std::move(answer->document);
}

}  // namespace

Session::Session(Options options)
    : options_(std::move(options)),
      client_(options_.socket, options_.silence),
      live_(!options_.json && is_terminal(STDOUT_FILENO)),
      colored_(color_wanted(options_)) {}

Session Session::patient(milliseconds silence) const {
    Options options = options_;
    options.silence = silence;
    return Session(std::move(options));
}

Outcome<json::value> Session::get(const std::string& target) const { return document_of(client_.ask("GET", target)); }

Outcome<json::value> Session::change(std::string_view method, const std::string& target,
                                     const json::value& body) const {
    return document_of(client_.ask(method, target, body.is_null() ? std::string() : to_text(body)));
}

void Session::say(std::string_view text) const { std::fwrite(text.data(), 1, text.size(), stdout); }

void Session::say_line(std::string_view line) const {
    say(clean(line) + "\n");
    std::fflush(stdout);
}

void Session::note(std::string_view line) const {
    std::fflush(stdout);
    const auto text = clean(line) + "\n";
    std::fwrite(text.data(), 1, text.size(), stderr);
}

void Session::show(const json::value& document) const {
    say(to_text(document) + "\n");
    std::fflush(stdout);
}

void Session::show(const Table& table) const {
    say(table.text(live_ ? terminal_size(STDOUT_FILENO).columns : 0, colored_));
    std::fflush(stdout);
}

void Session::show(const json::value& document, const Table& table, std::string_view hint) const {
    if (json()) return show(document);
    if (table.size() > 0) return show(table);
    note(hint);
}

}  // namespace gantry::cli
