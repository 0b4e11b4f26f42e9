// SPDX-License-Identifier: Apache-2.0
#include "sdk/tools/check/report.hpp"

#include <array>
#include <cstdio>

namespace gantry::check {
namespace {

std::string seconds(double value) {
    char text[32];
    std::snprintf(text, sizeof(text), "%.2f", value);
    return text;
}

// The lines of a text, each behind `margin`.
std::string indented(std::string_view text, std::string_view margin) {
    std::string out;
    while (!text.empty()) {
        const std::size_t end = text.find('\n');
        out.append(margin).append(text.substr(0, end)).append("\n");
        text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
    }
    return out;
}

// Bytes that are no UTF-8 come from plugins; what reads JSON or XML stumbles over them.
std::string printable(std::string_view text) {
    std::string out;
    for (std::size_t i = 0; i < text.size();) {
        const auto c = static_cast<unsigned char>(text[i]);
        const std::size_t length = c < 0x80                ? 1
                                   : c >= 0xc2 && c < 0xe0 ? 2
                                   : c >= 0xe0 && c < 0xf0 ? 3
                                   : c >= 0xf0 && c < 0xf5 ? 4
                                                           : 0;
        bool whole = length > 0 && i + length <= text.size();
        for (std::size_t k = 1; whole && k < length; ++k) {
            whole = (static_cast<unsigned char>(text[i + k]) & 0xc0u) == 0x80u;
        }
        if (!whole || (c < 0x20 && c != '\n')) {
            out += '?';
            ++i;
            continue;
        }
        out.append(text.substr(i, length));
        i += length;
    }
    return out;
}

std::string quoted(std::string_view text) {
    std::string out = "\"";
    for (char c : printable(text)) {
        if (c == '"' || c == '\\') out += '\\';
        if (c == '\n') {
            out += "\\n";
        } else {
            out += c;
        }
    }
    return out + "\"";
}

std::string attribute(std::string_view text) {
    std::string out = "\"";
    for (char c : printable(text)) {
        switch (c) {
            case '&':
                out += "&amp;";
                break;
            case '<':
                out += "&lt;";
                break;
            case '>':
                out += "&gt;";
                break;
            case '"':
                out += "&quot;";
                break;
            case '\n':
                out += "&#10;";
                break;
            default:
                out += c;
        }
    }
    return out + "\"";
}

using Counts = std::array<std::size_t, 5>;

Counts counts_of(const std::vector<Result>& results) {
    Counts out{};
    for (const Result& result : results) ++out[static_cast<std::size_t>(result.outcome)];
    return out;
}

}  // namespace

std::string line_of(const Result& result) {
    constexpr std::array<std::string_view, 5> kMarks{"pass ", "WARN ", "FAIL ", "CRASH", "skip "};
    std::string out = "  ";
    out.append(kMarks[static_cast<std::size_t>(result.outcome)]).append("  ").append(result.check->name);
    if (result.outcome == Outcome::kSkip) return out + ": " + printable(result.reason) + "\n";
    if (!result.remarks.empty()) out += ": " + printable(result.remarks);
    if (result.seconds >= 1) out += " (" + seconds(result.seconds) + " s)";
    out += "\n";
    if (result.outcome == Outcome::kPass) return out;
    constexpr std::string_view kMargin = "           ";
    const auto row = [&](std::string_view what, std::string_view text) {
        out.append(kMargin).append(what).append(printable(text)).append("\n");
    };
    row("promise:  ", result.check->promise);
    row("expected: ", result.expected);
    row("got:      ", result.got);
    row("to do:    ", result.check->cure);
    if (!result.output.empty()) {
        row("output:", "");
        out += indented(printable(result.output), "             ");
    }
    return out;
}

std::string summary(const std::vector<Result>& results) {
    const Counts counts = counts_of(results);
    double all = 0;
    for (const Result& result : results) all += result.seconds;
    constexpr std::array<std::string_view, 5> kWords{"passed", "warned", "failed", "crashed", "skipped"};
    std::string out = std::to_string(results.size()) + " checks:";
    for (std::size_t i = 0; i < counts.size(); ++i) {
        out += (i == 0 ? " " : ", ") + std::to_string(counts[i]) + " " + std::string(kWords[i]);
    }
    return out + " in " + seconds(all) + " s";
}

std::string json_of(const Subject& subject, std::uint64_t seed, const std::vector<Result>& results) {
    const elf::Note& note = subject.reading.note;
    std::string out = "{\"file\": " + quoted(subject.file) + ", \"id\": " + quoted(note.id) +
                      ", \"version\": " + quoted(note.version) + ", \"role\": " + quoted(note.role) +
                      // A text: a seed has more digits than a number of JSON.
                      ", \"seed\": \"" + std::to_string(seed) +
                      "\", \"good\": " + (any_bad(results) ? "false" : "true") + ", \"checks\": [";
    for (const Result& result : results) {
        out += &result == results.data() ? "\n" : ",\n";
        out += "  {\"name\": " + quoted(result.check->name) + ", \"outcome\": " + quoted(outcome_name(result.outcome)) +
               ", \"seconds\": " + seconds(result.seconds);
        const auto field = [&](const char* name, std::string_view text) {
            if (!text.empty()) out += std::string(", \"") + name + "\": " + quoted(text);
        };
        if (result.outcome != Outcome::kPass && result.outcome != Outcome::kSkip) {
            field("promise", result.check->promise);
            field("expected", result.expected);
            field("got", result.got);
            field("to_do", result.check->cure);
            field("output", result.output);
        }
        field("reason", result.reason);
        field("remarks", result.remarks);
        out += "}";
    }
    return out + "\n]}\n";
}

std::string junit_of(const Subject& subject, std::uint64_t seed, const std::vector<Result>& results) {
    const Counts counts = counts_of(results);
    const auto count = [&](Outcome outcome) { return std::to_string(counts[static_cast<std::size_t>(outcome)]); };
    std::string out = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuite name=" +
                      attribute(subject.reading.note.id.empty() ? subject.file : subject.reading.note.id) +
                      " tests=\"" + std::to_string(results.size()) + "\" failures=\"" + count(Outcome::kFail) +
                      "\" errors=\"" + count(Outcome::kCrash) + "\" skipped=\"" + count(Outcome::kSkip) +
                      "\">\n  <properties><property name=\"seed\" value=\"" + std::to_string(seed) +
                      "\"/></properties>\n";
    for (const Result& result : results) {
        const std::string_view name = result.check->name;
        out += "  <testcase classname=" + attribute(name.substr(0, name.find('.'))) + " name=" + attribute(name) +
               " time=\"" + seconds(result.seconds) + "\"";
        const std::string told =
            "expected: " + result.expected + "\ngot: " + result.got + "\nto do: " + std::string(result.check->cure);
        switch (result.outcome) {
            case Outcome::kPass:
                out += "/>\n";
                continue;
            case Outcome::kWarn:
                out += "><system-out>" + attribute(told).substr(1, attribute(told).size() - 2) + "</system-out>";
                break;
            case Outcome::kFail:
                out += "><failure message=" + attribute(told) + "/>";
                break;
            case Outcome::kCrash:
                out += "><error message=" + attribute(told) + "/>";
                break;
            case Outcome::kSkip:
                out += "><skipped message=" + attribute(result.reason) + "/>";
                break;
        }
        out += "</testcase>\n";
    }
    return out + "</testsuite>\n";
}

bool any_bad(const std::vector<Result>& results) {
    const Counts counts = counts_of(results);
    return counts[static_cast<std::size_t>(Outcome::kFail)] + counts[static_cast<std::size_t>(Outcome::kCrash)] > 0;
}

}  // namespace gantry::check
