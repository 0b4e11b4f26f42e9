/* SPDX-License-Identifier: Apache-2.0
 *
 * Offers a role that nobody knows.
 */
#include "tests/conformance/broken/placement.h"

ROLE()
INSTANCE()
ENTRY(.role = "teleport/1")

OWN_NOTE("gantry-note 1\nabi: " GANTRY_BROKEN_ABI "\nid: " GANTRY_PLUGIN_ID
         "\nname: Broken\nversion: " GANTRY_PLUGIN_VERSION
         "\nlicense: Apache-2.0\nrole: teleport/1\ndescription: Broken.\n")
