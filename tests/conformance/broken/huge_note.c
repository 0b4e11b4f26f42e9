/* SPDX-License-Identifier: Apache-2.0
 *
 * A note of 1 MiB beside its own.
 */
#include "tests/conformance/broken/placement.h"

ROLE()
INSTANCE()
ENTRY()

__asm__(".pushsection " GANTRY_NOTE_SECTION
        ", \"a\", %note\n"
        ".balign 4\n"
        ".long 7, 1048576, 1\n"
        ".asciz \"GANTRY\"\n"
        ".balign 4\n"
        ".fill 1048576, 1, 32\n"
        ".popsection\n");
