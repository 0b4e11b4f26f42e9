/* SPDX-License-Identifier: Apache-2.0
 *
 * Does not say under which licence it may be used.
 */
#include "tests/conformance/broken/placement.h"

ROLE()
INSTANCE()
ENTRY()

OWN_NOTE("gantry-note 1\nabi: " GANTRY_BROKEN_ABI "\nid: " GANTRY_PLUGIN_ID
         "\nname: Broken\nversion: " GANTRY_PLUGIN_VERSION "\nrole: placement/1\ndescription: Broken.\n")
