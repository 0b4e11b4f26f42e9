/* SPDX-License-Identifier: Apache-2.0
 *
 * The sound policy, which careless builds of it spoil (CMakeLists.txt).
 */
#include "tests/conformance/broken/placement.h"

ROLE()
INSTANCE()
ENTRY()
