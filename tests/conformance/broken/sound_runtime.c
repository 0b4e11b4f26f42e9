/* SPDX-License-Identifier: Apache-2.0
 *
 * Breaks nothing: what the others are made from.
 */
#include "tests/conformance/broken/runtime.h"

ROLE()
INSTANCE(.start = runtime_start)
ENTRY()
