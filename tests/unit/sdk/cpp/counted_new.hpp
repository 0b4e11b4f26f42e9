// SPDX-License-Identifier: Apache-2.0
//
// How often this program has allocated by `new`, so that a call can be shown to allocate nothing.
#pragma once

#include <cstddef>

std::size_t allocations();
