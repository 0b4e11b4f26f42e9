/* SPDX-License-Identifier: Apache-2.0
 *
 * Its entry does not begin as an entry does.
 */
#include "tests/conformance/broken/placement.h"

ROLE()
INSTANCE()
ENTRY(.magic = 0x21212121)
