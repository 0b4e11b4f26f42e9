// SPDX-License-Identifier: Apache-2.0
//
// Small files of a container's folder.
#pragma once

#include <cstddef>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

namespace monitored {

// The file's content, at most `max` bytes of it; nothing if it cannot be read.
std::optional<std::string> read_file(const std::filesystem::path& file, std::size_t max);

// The file's content; nothing if there is no such file. Throws Failure(kFailed) for everything else, more than `max`
// bytes too.
std::optional<std::string> read_if_there(const std::filesystem::path& file, std::size_t max);

// Replaces the file in one step: readers see the old or the new content. Throws Failure: kFull, kFailed.
void replace_file(const std::filesystem::path& file, std::string_view text);

// A whole number, with nothing but white space after it.
std::optional<long long> parse_number(std::string_view text);

// Throws Failure: kFull when the disk is, else kFailed: "cannot <what> <path>: <reason>".
[[noreturn]] void file_failed(const char* what, const std::filesystem::path& path, int error);

}  // namespace monitored
