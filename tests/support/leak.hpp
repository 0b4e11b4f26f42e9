// SPDX-License-Identifier: Apache-2.0
//
// What a test lets go on purpose; the address sanitizer's search for leaks does not count it.
#pragma once

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/lsan_interface.h>
#endif

namespace gantry {

template <class T>
void leak_on_purpose([[maybe_unused]] T* object) {
#ifdef __SANITIZE_ADDRESS__
    __lsan_ignore_object(object);
#endif
}

}  // namespace gantry
