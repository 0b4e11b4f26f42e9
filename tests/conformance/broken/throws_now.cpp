// SPDX-License-Identifier: Apache-2.0
#include <stdexcept>

extern "C" void throw_now();
extern "C" void throw_now() { throw std::runtime_error("out of a slot"); }
