/**
 * @file vsoa_platform.h
 * What programs expect from the platform: system headers, and macros that tell platforms apart. On Linux neither
 * VSOA_HAS_SIN_LEN (socket addresses have no length member) nor VSOA_NO_IPV6 is defined. The vendor's internal wrappers
 * of locks, threads and sockets are not offered; use the system's.
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
#include <stdint.h>
#include <string.h>
#include <strings.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/select.h>
#include <time.h>
#include <unistd.h>

/** Accepted sockets inherit TCP_NODELAY. */
#define VSOA_INHERIT_NODELAY 1

#endif
