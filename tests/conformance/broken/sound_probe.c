/* SPDX-License-Identifier: Apache-2.0
 *
 * Breaks nothing: what the others are made from.
 */
#include "tests/conformance/broken/probe.h"

ROLE()
INSTANCE(.stop = probe_stop)
ENTRY()
