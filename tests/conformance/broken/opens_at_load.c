/* SPDX-License-Identifier: Apache-2.0
 *
 * Opens a file in a constructor, before anybody made an instance.
 */
#include "tests/conformance/broken/placement.h"

#include <fcntl.h>

static int at_load;
__attribute__((constructor)) static void open_something(void) { at_load = open("/dev/null", O_RDONLY | O_CLOEXEC); }

ROLE()
INSTANCE()
ENTRY()
