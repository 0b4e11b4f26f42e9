/* SPDX-License-Identifier: Apache-2.0
 *
 * More than a plugin may export.
 */
#ifdef GANTRY_TEST_SURPLUS
__attribute__((visibility("default"))) int gantry_test_surplus(void);
__attribute__((visibility("default"))) int gantry_test_surplus(void) { return 1; }
#endif
#ifdef GANTRY_TEST_TEXT_RELOCATION
/* An address inside the code: the loader must write there. R: the linker keeps it though nothing refers to it. */
__asm__(".pushsection .text.gantry_test,\"axR\",@progbits\n.quad gantry_plugin_entry\n.popsection\n");
#endif
extern const int gantry_test_anchor;
__attribute__((visibility("hidden"))) const int gantry_test_anchor = 1;
