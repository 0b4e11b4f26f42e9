/**
 * @file vsoa_platform.h
 * What programs written for several systems expect from the platform: system headers, macros that tell systems apart,
 * and thin wrappers of locks, semaphores, threads and sockets. Everything is in this header; the library does not use
 * it. New programs for Linux lose nothing by calling the system's functions themselves.
 *
 * What is marked POSIX is missing in a strictly conforming C program (-std=c11) unless it defines _POSIX_C_SOURCE as
 * 200809L, what is marked Linux unless it defines _DEFAULT_SOURCE. With -std=gnu11, and so by default, all is there.
 *
 * Threads: any, as the wrapped calls. Errors are those of the wrapped calls. Wrappers of pthread calls return an error
 * number and leave errno alone.
 */
#ifndef VSOA_PLATFORM_H
#define VSOA_PLATFORM_H

#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <strings.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(SYLIXOS) || defined(__APPLE__)
/** Socket addresses have a length member (sin_len) to be set. Not defined on Linux. VSOA_NO_IPV6 is not either: IPv6 is
 *  supported. */
#define VSOA_HAS_SIN_LEN 1
#endif

/** Accepted sockets inherit TCP_NODELAY. */
#define VSOA_INHERIT_NODELAY 1

/** A full memory barrier. */
#define vsoa_memory_barrier() __sync_synchronize()

/** A lock for short sections. Here a mutex: a thread that spins would keep the one that holds the lock from running. */
typedef pthread_mutex_t vsoa_spin_t;
/** A static lock, open. */
#define VSOA_SPIN_INITIALIZER PTHREAD_MUTEX_INITIALIZER
/** Makes a lock, open. 0 or an error number. */
#define vsoa_spin_init(spin) pthread_mutex_init((spin), NULL)
/** Ends a lock that nobody holds. */
#define vsoa_spin_destroy(spin) pthread_mutex_destroy(spin)
/** Waits for the lock and takes it. Not recursive. */
#define vsoa_spin_lock(spin) pthread_mutex_lock(spin)
/** Opens a lock that this thread holds. */
#define vsoa_spin_unlock(spin) pthread_mutex_unlock(spin)

/** A mutex. */
typedef pthread_mutex_t vsoa_mutex_t;
/** A static mutex, open. */
#define VSOA_MUTEX_INITIALIZER PTHREAD_MUTEX_INITIALIZER
/** Makes a mutex, open. 0 or an error number. */
#define vsoa_mutex_init(m) pthread_mutex_init((m), NULL)
/** Ends a mutex that nobody holds. */
#define vsoa_mutex_destroy(m) pthread_mutex_destroy(m)
/** Waits for the mutex and takes it. Not recursive. */
#define vsoa_mutex_lock(m) pthread_mutex_lock(m)
/** Opens a mutex that this thread holds. */
#define vsoa_mutex_unlock(m) pthread_mutex_unlock(m)

/** A semaphore of this process. */
typedef sem_t vsoa_sem_t;
/** Time limit of vsoa_sem_wait: none. */
#define VSOA_SEM_WAIT_INFINITE (-1)
/** Makes a semaphore with this value. 0, or -1 with errno EINVAL. */
#define vsoa_sem_init(sem, v) sem_init((sem), 0, (v))
/** Ends a semaphore that nobody waits for. */
#define vsoa_sem_destroy(sem) sem_destroy(sem)
/** Raises the value. 0, or -1 with errno EOVERFLOW. */
#define vsoa_sem_post(sem) sem_post(sem)

/** Sets the value to 0. @param sem not NULL */
static inline void vsoa_sem_clear(vsoa_sem_t* sem) {
    while (sem_trywait(sem) == 0) continue;
}

/** A thread. */
typedef pthread_t vsoa_thread_t;
/** Starts a thread: id vsoa_thread_t*, f void* (*)(void*), a its argument. 0 or an error number. */
#define vsoa_thread_create(id, f, a) pthread_create((id), NULL, (f), (a))
/** Waits for the end of a thread; id vsoa_thread_t*. 0 or an error number. */
#define vsoa_thread_wait(id) pthread_join(*(id), NULL)
/** Ends the calling thread. */
#define vsoa_thread_exit() pthread_exit(NULL)

#ifdef CLOCK_MONOTONIC
/** Time that no setting of the date moves, in nanoseconds. POSIX. */
static inline int64_t vsoa_current_time(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

/** Pauses the calling thread, signals or not. POSIX. @param ms milliseconds */
static inline void vsoa_thread_msleep(unsigned int ms) {
    struct timespec left;
    left.tv_sec = (time_t)(ms / 1000);
    left.tv_nsec = (long)(ms % 1000) * 1000000;
    while (nanosleep(&left, &left) != 0 && errno == EINTR) continue;
}

/** Waits until the value is above 0 and takes one off. POSIX. Setting the date moves the limit.
 *  @param timeout  nanoseconds; 0 = do not wait; negative (VSOA_SEM_WAIT_INFINITE) = no limit
 *  @return 0, or -1 with errno ETIMEDOUT (EAGAIN for timeout 0) */
static inline int vsoa_sem_wait(vsoa_sem_t* sem, int64_t timeout) {
    struct timespec until;
    int result;
    if (timeout == 0) return sem_trywait(sem);
    if (timeout > 0) {
        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_sec += (time_t)(timeout / 1000000000);
        until.tv_nsec += (long)(timeout % 1000000000);
        until.tv_sec += until.tv_nsec / 1000000000;
        until.tv_nsec %= 1000000000;
    }
    do {
        result = timeout < 0 ? sem_wait(sem) : sem_timedwait(sem, &until);
    } while (result != 0 && errno == EINTR);
    return result;
}

/** pselect(2) without a signal mask. POSIX. @param timeout NULL = no limit */
static inline int vsoa_select(int width, fd_set* rfds, fd_set* wfds, fd_set* efds, const struct timespec* timeout) {
    return pselect(width, rfds, wfds, efds, timeout, NULL);
}
#endif

/** Closes a socket. 0, or -1 with errno. */
#define close_socket(s) close(s)
/** Ends a connection in both directions. 0, or -1 with errno. */
#define shutdown_socket(s) shutdown((s), SHUT_RDWR)

/** A socket that programs started by exec(2) do not inherit.
 *  @param family, type, protocol  as for socket(2)
 *  @param nonblock                true: it never waits
 *  @return a descriptor for close_socket, or -1 with errno */
static inline int create_socket(int family, int type, int protocol, bool nonblock) {
    return socket(family, type | SOCK_CLOEXEC | (nonblock ? SOCK_NONBLOCK : 0), protocol);
}

/** SO_LINGER: how long close waits for data to be sent. @param time seconds; 0 = reset at close. errno on failure */
static inline void vsoa_socket_linger(int s, int time) {
    struct linger linger;
    linger.l_onoff = 1;
    linger.l_linger = time;
    setsockopt(s, SOL_SOCKET, SO_LINGER, &linger, sizeof linger);
}

/** SO_SNDTIMEO: how long a send may wait. @param timeout NULL or 0 = no limit. errno on failure */
static inline void vsoa_socket_sndto(int s, const struct timeval* timeout) {
    struct timeval none;
    none.tv_sec = 0;
    none.tv_usec = 0;
    setsockopt(s, SOL_SOCKET, SO_SNDTIMEO, timeout != NULL ? timeout : &none, sizeof none);
}

#ifdef SO_BINDTODEVICE
/** SO_PRIORITY. @param prio 0 (lowest) to 5. errno on failure. Linux */
static inline void vsoa_socket_priority(int s, int prio) { setsockopt(s, SOL_SOCKET, SO_PRIORITY, &prio, sizeof prio); }

/** SO_BINDTODEVICE. Linux. @param ifname name of a network device, shorter than IF_NAMESIZE
 *  @return true; false with errno EINVAL (NULL, too long), ENODEV, EPERM */
static inline bool vsoa_socket_bindif(int s, const char* ifname) {
    if (ifname == NULL || strlen(ifname) >= IF_NAMESIZE) {
        errno = EINVAL;
        return false;
    }
    return setsockopt(s, SOL_SOCKET, SO_BINDTODEVICE, ifname, (socklen_t)strlen(ifname) + 1) == 0;
}
#endif

/** Makes a pair for waking a thread that waits in select: signal evtfd[1], wait on and fetch from evtfd[0]. Here both
 *  are one eventfd(2). @return true; false with errno. Free it with vsoa_event_pair_close. */
static inline bool vsoa_event_pair_create(int evtfd[2]) {
    evtfd[0] = evtfd[1] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    return evtfd[0] >= 0;
}

/** Closes a pair; both numbers become -1. */
static inline void vsoa_event_pair_close(int evtfd[2]) {
    close(evtfd[0]);
    evtfd[0] = evtfd[1] = -1;
}

/** Makes evtfd[0] readable. Any thread. @param wfd evtfd[1] */
static inline void vsoa_event_pair_signal(int wfd) { eventfd_write(wfd, 1); }

/** Makes it unreadable again. Does not wait. @param rfd evtfd[0] */
static inline void vsoa_event_pair_fetch(int rfd) {
    eventfd_t count;
    eventfd_read(rfd, &count);
}

#ifdef __cplusplus
}
#endif

#endif
