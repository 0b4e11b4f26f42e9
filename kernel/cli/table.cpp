// SPDX-License-Identifier: Apache-2.0
#include "kernel/cli/table.hpp"

#include <algorithm>

#include "kernel/base/units.hpp"

namespace gantry::cli {

namespace {
constexpr std::size_t kGap = 2;         // blanks between columns
constexpr std::size_t kLeastLast = 16;  // the last column is not cut below this
}  // namespace

void Table::add(std::vector<Cell> row) {
    row.resize(headers_.size(), Cell(""));
    for (std::size_t i = 0; i < row.size(); ++i) {
        row[i].text = clean(row[i].text);
        if (row[i].text.empty() && i + 1 < row.size()) row[i].text = "-";
    }
    rows_.push_back(std::move(row));
}

std::string Table::text(std::size_t columns, bool colored) const {
    std::vector<std::size_t> widths;
    for (std::size_t i = 0; i < headers_.size(); ++i) {
        std::size_t width = display_width(headers_[i]);
        for (const auto& row : rows_) width = std::max(width, display_width(row[i].text));
        widths.push_back(width);
    }
    std::size_t before_last = 0;
    for (std::size_t i = 0; i + 1 < widths.size(); ++i) before_last += widths[i] + kGap;

    std::string out;
    const auto line = [&](const auto& text_at, const auto& color_at) {
        std::size_t blanks = 0;
        for (std::size_t i = 0; i < headers_.size(); ++i) {
            std::string cell = text_at(i);
            const bool last = i + 1 == headers_.size();
            if (last && columns > 0) {
                cell = cut(cell, std::max(kLeastLast, columns > before_last ? columns - before_last : 0));
            }
            if (!cell.empty()) out += std::string(blanks, ' ') + painted(cell, colored ? color_at(i) : Color::kNone);
            blanks = (cell.empty() ? blanks : 0) + widths[i] - display_width(cell) + kGap;
        }
        out += '\n';
    };
    line([&](std::size_t i) { return headers_[i]; }, [](std::size_t) { return Color::kDim; });
    for (const auto& row : rows_) {
        line([&](std::size_t i) { return row[i].text; }, [&](std::size_t i) { return row[i].color; });
    }
    return out;
}

}  // namespace gantry::cli
