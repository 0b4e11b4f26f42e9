// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace gantry::tools {

// " Did you mean 'placement'?" if `word` is at most two slips (a letter too many, missing, wrong, or two exchanged)
// from one of `known`, else nothing.
std::string did_you_mean(std::string_view word, const std::vector<std::string>& known);

}  // namespace gantry::tools
