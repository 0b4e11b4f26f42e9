// SPDX-License-Identifier: Apache-2.0
#include "kernel/cli/terminal.hpp"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>

#include "kernel/base/units.hpp"

namespace gantry::cli {

Color color_of_state(std::string_view state) {
    constexpr std::string_view kGood[] = {"ready", "running", "active", "loaded"};
    constexpr std::string_view kBad[] = {"lost", "failing", "failed", "refused"};
    constexpr std::string_view kDim[] = {"expected", "left", "exited", "stopping", "removing"};
    const auto in = [&](const auto& list) {
        return std::find(std::begin(list), std::end(list), state) != std::end(list);
    };
    if (in(kGood)) return Color::kGood;
    if (in(kBad)) return Color::kBad;
    if (in(kDim)) return Color::kDim;
    return state.empty() || state == "-" ? Color::kNone : Color::kBusy;
}

std::string painted(std::string_view text, Color color) {
    constexpr std::string_view kStart[] = {"", "\x1b[32m", "\x1b[33m", "\x1b[31m", "\x1b[2m"};
    if (color == Color::kNone) return std::string(text);
    return std::string(kStart[static_cast<int>(color)]) + std::string(text) + "\x1b[0m";
}

std::string clean(std::string_view text) {
    std::string out(text);
    for (std::size_t i = 0; i < out.size(); ++i) {
        const auto byte = static_cast<unsigned char>(out[i]);
        if (byte < 0x20 || byte == 0x7f) out[i] = ' ';
        // U+0080..U+009F are control characters too, two bytes each.
        const bool c1 = byte == 0xc2 && i + 1 < out.size() && static_cast<unsigned char>(out[i + 1]) < 0xa0;
        if (c1) out.replace(i, 2, " ");
    }
    return out;
}

std::string cut(std::string_view text, std::size_t columns) {
    if (display_width(text) <= columns) return std::string(text);
    std::size_t end = 0, width = 0;
    while (end < text.size()) {
        std::size_t next = end + 1;
        while (next < text.size() && (static_cast<unsigned char>(text[next]) & 0xc0) == 0x80) ++next;
        width += display_width(text.substr(end, next - end));
        if (width + 1 > columns) break;
        end = next;
    }
    return std::string(text.substr(0, end)) + (columns > 0 ? "…" : "");
}

bool is_terminal(int fd) {
    const char* term = std::getenv("TERM");
    return isatty(fd) == 1 && !(term && std::string_view(term) == "dumb");
}

TerminalSize terminal_size(int fd) {
    TerminalSize size;
    winsize window{};
    if (ioctl(fd, TIOCGWINSZ, &window) == 0) {
        if (window.ws_col > 0) size.columns = window.ws_col;
        if (window.ws_row > 0) size.rows = window.ws_row;
    }
    return size;
}

namespace {

void write_all(int fd, std::string_view text) {
    while (!text.empty()) {
        const auto sent = ::write(fd, text.data(), text.size());
        if (sent <= 0) return;  // a terminal that is gone needs no progress
        text.remove_prefix(static_cast<std::size_t>(sent));
    }
}

}  // namespace

void LiveLines::clear() {
    std::string out;
    for (; drawn_ > 0; --drawn_) out += "\x1b[1A\x1b[2K";
    write_all(fd_, out);
}

void LiveLines::draw(const std::vector<std::string>& lines, const std::vector<Color>& colors) {
    const auto size = terminal_size(fd_);
    std::string out;
    if (drawn_ > 0) out += "\x1b[" + std::to_string(drawn_) + "A";
    const std::size_t room = std::max<std::size_t>(size.rows, 4) - 2;
    const std::size_t shown = lines.size() <= room ? lines.size() : room - 1;
    std::size_t count = 0;
    const auto add = [&](const std::string& line, Color color) {
        out += "\r\x1b[2K" + painted(cut(clean(line), size.columns), color) + "\n";
        ++count;
    };
    for (std::size_t i = 0; i < shown; ++i) add(lines[i], i < colors.size() ? colors[i] : Color::kNone);
    if (shown < lines.size()) add("... and " + std::to_string(lines.size() - shown) + " more", Color::kDim);
    out += "\x1b[0J";  // lines of a longer drawing before
    drawn_ = count;
    write_all(fd_, out);
}

}  // namespace gantry::cli
