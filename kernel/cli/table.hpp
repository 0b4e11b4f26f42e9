// SPDX-License-Identifier: Apache-2.0
//
// Columns that align on a terminal, wide characters included.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "kernel/cli/terminal.hpp"

namespace gantry::cli {

class Table {
  public:
    struct Cell {
        Cell(std::string what, Color in = Color::kNone) : text(std::move(what)), color(in) {}
        Cell(const char* what) : text(what) {}
        std::string text;
        Color color = Color::kNone;
    };
    explicit Table(std::vector<std::string> headers) : headers_(std::move(headers)) {}

    // As many cells as headers. An empty cell shows "-", except in the last column.
    void add(std::vector<Cell> row);
    std::size_t size() const { return rows_.size(); }
    // columns: the terminal's width, where the last column is cut to fit; 0: nothing is cut.
    std::string text(std::size_t columns, bool colored) const;

  private:
    std::vector<std::string> headers_;
    std::vector<std::vector<Cell>> rows_;
};

}  // namespace gantry::cli
