/* SPDX-License-Identifier: Apache-2.0
 *
 * Breaks nothing: what the others are made from.
 */
#include "tests/conformance/broken/store.h"

ROLE()
STORE_INSTANCE
ENTRY()
