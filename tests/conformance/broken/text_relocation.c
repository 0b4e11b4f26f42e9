/* SPDX-License-Identifier: Apache-2.0
 *
 * Has an address inside its code, which the loader would have to write there.
 */
#include "tests/conformance/broken/placement.h"

ROLE()
INSTANCE()
ENTRY()

__asm__(
    ".pushsection .text\n"
    ".quad gantry_plugin_entry\n"
    ".popsection\n");
