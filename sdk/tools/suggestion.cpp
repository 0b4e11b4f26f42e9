// SPDX-License-Identifier: Apache-2.0
#include "sdk/tools/suggestion.hpp"

#include <algorithm>

namespace gantry::tools {
namespace {

// Edit distance where two neighbours exchanged are one slip.
std::size_t slips(std::string_view a, std::string_view b) {
    std::vector<std::vector<std::size_t>> table(a.size() + 1, std::vector<std::size_t>(b.size() + 1));
    for (std::size_t i = 0; i <= a.size(); ++i) table[i][0] = i;
    for (std::size_t j = 0; j <= b.size(); ++j) table[0][j] = j;
    for (std::size_t i = 1; i <= a.size(); ++i) {
        for (std::size_t j = 1; j <= b.size(); ++j) {
            const std::size_t wrong = a[i - 1] == b[j - 1] ? 0 : 1;
            table[i][j] = std::min({table[i - 1][j] + 1, table[i][j - 1] + 1, table[i - 1][j - 1] + wrong});
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) {
                table[i][j] = std::min(table[i][j], table[i - 2][j - 2] + 1);
            }
        }
    }
    return table[a.size()][b.size()];
}

}  // namespace

std::string did_you_mean(std::string_view word, const std::vector<std::string>& known) {
    constexpr std::size_t kSlipsMax = 2, kWordMax = 64;
    if (word.size() > kWordMax) return {};
    const std::string* best = nullptr;
    std::size_t least = kSlipsMax + 1;
    for (const std::string& candidate : known) {
        const std::size_t distance = slips(word, candidate);
        if (distance < least && distance < candidate.size()) {
            least = distance;
            best = &candidate;
        }
    }
    return best == nullptr ? std::string() : " Did you mean '" + *best + "'?";
}

}  // namespace gantry::tools
