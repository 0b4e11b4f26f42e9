/* SPDX-License-Identifier: Apache-2.0
 *
 * Lets others bind to a symbol of its own.
 */
#include "tests/conformance/broken/placement.h"

extern __attribute__((visibility("default"))) int also_open(void);
int also_open(void) { return 1; }

ROLE()
INSTANCE()
ENTRY()
