/* SPDX-License-Identifier: Apache-2.0
 *
 * Its entry says another id than its note.
 */
#include "tests/conformance/broken/placement.h"

ROLE()
INSTANCE()
ENTRY(.id = "org.example.somebody-else")
