/**
 * @file vsoa_regulator.h
 * A regulator thins a fast topic out to a fixed period: values are handed in as they come, and once in a period the
 * last one of each url is handed on. It serves a client (values from its message callback) and a server (values to be
 * published) alike; it knows neither.
 *
 * Threads: every function may be called from any thread but, with the exception of vsoa_regulator_delete, not within a
 * callback of the same regulator: there they fail with EDEADLK. Delete it once, when no other thread uses it.
 * Ownership: urls and payloads are copied. All memory for values is taken by vsoa_regulator_slot.
 *
 * Errors: false or NULL with errno: EINVAL arguments, EDEADLK within a callback of this regulator, ENOENT no such slot,
 * EEXIST there is one already, EMSGSIZE more than the slot keeps, ENOMEM, EAGAIN no timer thread.
 */
#ifndef VSOA_REGULATOR_H
#define VSOA_REGULATOR_H

#include <time.h>

#include "vsoa_parser.h"

#ifdef __cplusplus
extern "C" {
#endif

/** A regulator; opaque. */
typedef struct vsoa_regulator vsoa_regulator_t;

/** The last value of a url in this period. Runs in the timer thread (vsoa_timer.h) with the regulator's lock held:
 * until it returns, vsoa_regulator_update in other threads waits; be quick.
 *  @param arg      as given to vsoa_regulator_slot
 *  @param url      of the slot; read only, valid until the callback returns
 *  @param payload  valid until the callback returns; a pointer with length 0 is not NULL */
typedef void (*vsoa_regulator_func_t)(void* arg, vsoa_url_t* url, vsoa_payload_t* payload);

/** Creates a regulator without slots. While no value waits, it costs no processor time.
 *  @param period  at least 1 ms, at most 2^63 - 1 ns
 *  @return to be freed with vsoa_regulator_delete; NULL with errno EINVAL, ENOMEM, EAGAIN */
vsoa_regulator_t* vsoa_regulator_create(const struct timespec* period);

/** Frees a regulator, its slots and the values that were not handed on. Waits for a callback that is running; within a
 *  callback of this regulator it returns at once and the regulator is freed after that callback.
 *  @param regulator  NULL does nothing */
void vsoa_regulator_delete(vsoa_regulator_t* regulator);

/** Changes the period, which begins anew.
 *  @param period  as for vsoa_regulator_create
 *  @return true; false with errno EINVAL, EDEADLK */
bool vsoa_regulator_period(vsoa_regulator_t* regulator, const struct timespec* period);

/** Adds a slot.
 *  @param url       starts with '/'. It is compared as a whole: no wildcards
 *  @param ondelay   not NULL
 *  @param arg       handed to ondelay
 *  @param buf_size  bytes of the largest payload kept, param and data together; what is above VSOA_MAX_DATA_LENGTH is
 *                   never used
 *  @return true; false with errno EINVAL, EEXIST, EDEADLK, ENOMEM */
bool vsoa_regulator_slot(vsoa_regulator_t* regulator, const vsoa_url_t* url, vsoa_regulator_func_t ondelay, void* arg,
                         size_t buf_size);

/** Removes a slot with the value that waits in it.
 *  @return true; false with errno ENOENT, EINVAL, EDEADLK */
bool vsoa_regulator_unslot(vsoa_regulator_t* regulator, const vsoa_url_t* url);

/** Tells whether there is a slot for url.
 *  @param buf_size  receives the size the slot was made with; may be NULL
 *  @return true; false with errno ENOENT, EINVAL, EDEADLK */
bool vsoa_regulator_has_slot(vsoa_regulator_t* regulator, const vsoa_url_t* url, size_t* buf_size);

/** Hands a value in. It replaces one that waits, and is handed on at the end of the present period.
 *  @param payload  NULL counts as empty
 *  @return true; false with errno ENOENT, EMSGSIZE (the value that waits stays), EINVAL, EDEADLK */
bool vsoa_regulator_update(vsoa_regulator_t* regulator, const vsoa_url_t* url, const vsoa_payload_t* payload);

/** Forgets the value that waits, if there is one.
 *  @return true; false with errno ENOENT, EINVAL, EDEADLK */
bool vsoa_regulator_clear(vsoa_regulator_t* regulator, const vsoa_url_t* url);

#ifdef __cplusplus
}
#endif

#endif
