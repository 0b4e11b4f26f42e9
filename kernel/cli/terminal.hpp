// SPDX-License-Identifier: Apache-2.0
//
// What a terminal can do that a pipe cannot: colour, a width, lines that are written again.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace gantry::cli {

enum class Color { kNone, kGood, kBusy, kBad, kDim };

// Green for what is well, yellow for what is under way, red for what is not well.
Color color_of_state(std::string_view state);
std::string painted(std::string_view text, Color color);

// Control characters become blanks, so that served text cannot drive the terminal.
std::string clean(std::string_view text);
// At most `columns` wide; what is longer ends with an ellipsis.
std::string cut(std::string_view text, std::size_t columns);

// Can `fd` be written again and again? False for pipes, files and TERM=dumb.
bool is_terminal(int fd);
struct TerminalSize {
    std::size_t columns = 80, rows = 24;
};
TerminalSize terminal_size(int fd);

// Lines at the end of the terminal that are rewritten in place.
class LiveLines {
  public:
    explicit LiveLines(int fd) : fd_(fd) {}
    // Replaces the lines of the last call. Lines that do not fit the terminal's height are summed up.
    void draw(const std::vector<std::string>& lines, const std::vector<Color>& colors);
    void clear();

  private:
    int fd_;
    std::size_t drawn_ = 0;
};

}  // namespace gantry::cli
