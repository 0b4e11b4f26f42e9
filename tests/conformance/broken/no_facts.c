/* SPDX-License-Identifier: Apache-2.0
 *
 * Says that it answers on port 0.
 */
#include "tests/conformance/broken/directory.h"

static const gantry_directory_facts nowhere = {sizeof(nowhere), 0, TEXT("GANTRY_NAMES")};

ROLE(.facts = &nowhere)
INSTANCE()
ENTRY()
