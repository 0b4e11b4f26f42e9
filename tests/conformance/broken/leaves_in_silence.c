/* SPDX-License-Identifier: Apache-2.0
 *
 * Does not tell the other side that it closed.
 */
#define TELLS_OTHER 0
#include "tests/conformance/broken/transport.h"

ROLE()
TRANSPORT_INSTANCE
ENTRY()
