/* SPDX-License-Identifier: Apache-2.0
 *
 * Stands for a libc of the future while newer_libc.c is linked; nothing of it is loaded.
 */
int gantry_of_the_future(void);
int gantry_of_the_future(void) { return 0; }
