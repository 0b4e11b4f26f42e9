/* SPDX-License-Identifier: Apache-2.0
 *
 * Lets in whoever dials.
 */
#define ACCEPTS(listening, dialling) 1
#include "tests/conformance/broken/transport.h"

ROLE()
TRANSPORT_INSTANCE
ENTRY()
