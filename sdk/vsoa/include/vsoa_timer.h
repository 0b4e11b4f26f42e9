/**
 * @file vsoa_timer.h
 * Timers. One thread of the library, the timer thread, runs the callbacks of all timers of the process, one after the
 * other; a callback that takes long delays the others, so it should be short.
 *
 * Threads: every function may be called from any thread, callbacks included. A timer may be deleted once.
 * The clock is CLOCK_MONOTONIC: setting the date moves no timer. The timer thread takes no signals. It does not exist
 * in the child of a fork(2).
 *
 * Errors: false or NULL with errno: EINVAL arguments, ENOMEM, EAGAIN the timer thread could not be started.
 */
#ifndef VSOA_TIMER_H
#define VSOA_TIMER_H

#include <stdbool.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/** A timer; opaque. */
typedef struct vsoa_timer vsoa_timer_t;

/** A timer's time has come. Runs in the timer thread.
 *
 *  The arguments are (void* arg, vsoa_timer_t* timer, void* custom): arg as given to vsoa_timer_start, the timer, and
 *  the pointer of vsoa_timer_set_custom. In C before C23 the type has no list of parameters, as in the vendor's header,
 *  so that a callback may declare only the first of them. */
#if defined(__cplusplus) || (defined(__STDC_VERSION__) && __STDC_VERSION__ > 201710L)
typedef void (*vsoa_timer_ontime_func_t)(void* arg, vsoa_timer_t* timer, void* custom);
#else
#if defined(__GNUC__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wstrict-prototypes"
#endif
/** The same, without a list of parameters. */
typedef void (*vsoa_timer_ontime_func_t)(/* void* arg, vsoa_timer_t* timer, void* custom */);
#if defined(__GNUC__)
#pragma GCC diagnostic pop
#endif
#endif

/** Starts the timer thread. Calling it again does nothing; vsoa_timer_create calls it too.
 *  @return true; false with errno EAGAIN (no thread), ENOMEM */
bool vsoa_timer_init(void);

/** Creates a timer that is not started.
 *  @return the timer, to be freed with vsoa_timer_delete; NULL with errno EAGAIN (no timer thread), ENOMEM */
vsoa_timer_t* vsoa_timer_create(void);

/** Stops a timer and frees it. When this returns, its callback does not run and will not run: it waits for a callback
 *  that is running. Within the timer's own callback it returns at once and the timer is freed after that callback.
 *  @param timer  NULL does nothing */
void vsoa_timer_delete(vsoa_timer_t* timer);

/** Starts a timer; one that is started begins anew with these values, also within its own callback.
 *  @param count     nanoseconds until the first call, 0 = at once; at least 0
 *  @param interval  nanoseconds between calls, 0 = one call only; at least 0. Calls keep to the raster of the first
 *                   one; periods that pass while callbacks run give one late call, not one each
 *  @param callback  not NULL
 *  @param arg       handed to the callback
 *  @return true; false with errno EINVAL (NULL, or a negative time) */
bool vsoa_timer_start(vsoa_timer_t* timer, int64_t count, int64_t interval, vsoa_timer_ontime_func_t callback,
                      void* arg);

/** vsoa_timer_start with times in milliseconds. */
bool vsoa_timer_start_ms(vsoa_timer_t* timer, int64_t count, int64_t interval, vsoa_timer_ontime_func_t callback,
                         void* arg);

/** Stops a timer: no call begins any more. A callback that is running in the timer thread meanwhile is not waited for;
 *  vsoa_timer_delete waits. Allowed within the callback.
 *  @param timer  NULL does nothing but set errno EINVAL */
void vsoa_timer_stop(vsoa_timer_t* timer);

/** @return true when a call is to come: from start to stop, and for one that calls once, until its callback begins.
 *          False otherwise, and with errno EINVAL for NULL */
bool vsoa_timer_is_started(vsoa_timer_t* timer);

/** Sets a pointer of the program's, the third argument of the callback; NULL at first. Never touched by the library.
 *  @param timer  NULL does nothing but set errno EINVAL */
void vsoa_timer_set_custom(vsoa_timer_t* timer, void* custom);

/** @return the pointer of vsoa_timer_set_custom; NULL with errno EINVAL when timer is NULL */
void* vsoa_timer_custom(vsoa_timer_t* timer);

#ifdef __cplusplus
}
#endif

#endif
