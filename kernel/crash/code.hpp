// SPDX-License-Identifier: Apache-2.0
//
// Whose code lies where in this process. A thread that a plugin made itself has no crumb; when it fails, the code on
// its stack says whose it is.
#pragma once

#include <cstdint>

#include "kernel/crash/crumb.hpp"

namespace gantry::crash {

inline constexpr std::size_t kObjectsMax = 256;  // shared objects of plugins; those beyond are nobody's

// The shared object that holds `within` is that plugin's from now on, for good. Who says so first counts: two instances
// of one file cannot be told apart. [loop]
void claim(const void* within, const Subject& plugin);

// Whose object holds the code at that address; nullptr: nobody's. Takes no lock and no memory, as what follows. [any]
const Subject* owner_of(std::uintptr_t address);
// Of the calls that led here, also through a signal's frame: the innermost one of a plugin. [any]
const Subject* owner_of_calls();

}  // namespace gantry::crash
