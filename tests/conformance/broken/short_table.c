/* SPDX-License-Identifier: Apache-2.0
 *
 * The table of its role ends before the only slot.
 */
#include "tests/conformance/broken/placement.h"

ROLE(.struct_size = 8)
INSTANCE()
ENTRY()
