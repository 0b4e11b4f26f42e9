/* SPDX-License-Identifier: Apache-2.0
 *
 * A shared object that fails on a thread which it made itself, as a plugin may.
 */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

static void* fail(void* how) {
    const char* volatile nowhere = NULL;
    void (*volatile nothing)(void) = NULL;
    if (strcmp(how, "null") == 0) return (void*)(size_t)*nowhere;
    if (strcmp(how, "library") == 0) {
        const volatile size_t length = strlen(nowhere); /* kept, so that the call is none in place of a return */
        return (void*)length;
    }
    if (strcmp(how, "call") == 0) nothing();
    if (strcmp(how, "exit") == 0) exit(0);
    abort();
}

__attribute__((visibility("default"))) void fail_on_a_thread(const char* how) {
    pthread_t thread;
    if (pthread_create(&thread, NULL, fail, (void*)how) == 0) pthread_join(thread, NULL);
}
