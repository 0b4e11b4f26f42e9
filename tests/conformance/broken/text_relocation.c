/* SPDX-License-Identifier: Apache-2.0
 *
 * Has an address inside its code, which the loader would have to write there.
 */
#include "tests/conformance/broken/placement.h"

ROLE()
INSTANCE()
ENTRY()

/* R: the linker keeps it though nothing refers to it. */
__asm__(
    ".pushsection .text.written, \"axR\", %progbits\n"
    ".quad gantry_plugin_entry\n"
    ".popsection\n");
