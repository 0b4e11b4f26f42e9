/* SPDX-License-Identifier: Apache-2.0
 *
 * Built for a border that is newer than this one.
 */
#include "tests/conformance/broken/placement.h"

ROLE()
INSTANCE()
ENTRY(.abi_major = 99)

OWN_NOTE("gantry-note 1\nabi: 99.0\nid: " GANTRY_PLUGIN_ID "\nname: Broken\nversion: " GANTRY_PLUGIN_VERSION
         "\nlicense: Apache-2.0\nrole: placement/1\ndescription: Broken.\n")
