// SPDX-License-Identifier: Apache-2.0
//
// The database as a file: what is done before SQLite may touch it. Every failure is a gantry::Failure whose text says
// what to do; the file is never changed by a refusal.
#pragma once

#include <cstdint>
#include <gantry/view.hpp>
#include <string>
#include <vector>

namespace gantry::sqlite {

inline constexpr std::uint32_t kApplicationId = 0x474e5452;  // "GNTR"
inline constexpr std::uint32_t kSchema = 1;

// Makes the folder of `path`, and its parents, where they are missing; only its owner may enter it.
void make_folder(const std::string& path);
// Taken for as long as the descriptor is open; kConflict if another process has it.
Fd lock(const std::string& path);
// The files that opening a database puts beside it and that are not there yet.
std::vector<std::string> absent_beside(const std::string& path);
// Removes those of them that are empty. To be called with the lock held.
void remove_empty(const std::vector<std::string>& files);
// Throws if a database that says this of itself must not be opened.
void check_identity(const std::string& path, std::uint32_t application, std::uint32_t schema);
// Whether there is a database. The log beside it, which may say otherwise, is not looked into. Throws if there is
// something that this version must not open.
bool inspect(const std::string& path);
// After a new file was named: the name survives a power cut.
void sync_folder(const std::string& path);

}  // namespace gantry::sqlite
