// SPDX-License-Identifier: Apache-2.0
#include "kernel/cli/sse.hpp"

#include "kernel/base/limits.hpp"

namespace gantry::cli {

Outcome<std::vector<std::string>> SseParser::feed(std::string_view bytes) {
    std::vector<std::string> whole;
    for (const char c : bytes) {
        // A line ends with LF, CR or both.
        if (c == '\n' && after_cr_) {
            after_cr_ = false;
            continue;
        }
        after_cr_ = c == '\r';
        if (c != '\n' && c != '\r') {
            line_ += c;
            continue;
        }
        take(line_, whole);
        line_.clear();
    }
    if (line_.size() + data_.size() > limits::kDocument) {
        return trouble(exit_status::kFailed, Code::kFull, "gantryd sent an event of more than 1 MiB");
    }
    return whole;
}

void SseParser::take(std::string_view line, std::vector<std::string>& whole) {
    if (line.empty()) {
        if (has_data_) whole.push_back(std::move(data_));
        data_.clear();
        has_data_ = false;
        return;
    }
    const auto colon = line.find(':');
    if (line.substr(0, colon) != "data") return;
    auto value = colon == std::string_view::npos ? std::string_view() : line.substr(colon + 1);
    if (value.starts_with(' ')) value.remove_prefix(1);
    if (has_data_) data_ += '\n';
    data_ += value;
    has_data_ = true;
}

}  // namespace gantry::cli
