/* What attackers have in common. */
#ifndef ATTACK_H
#define ATTACK_H

#include "tests/bench/vsoa/measure.h"

extern const char* port;

/* The input has ended. */
bool over(void);
/* One more of COUNT. */
void step(void);
/* The pressure is on. */
void under_way(void);
/* A connection that resets itself when it is closed. */
int dial_reset(void);
/* False: the server has ended it. */
bool put(int fd, const void* bytes, size_t length);

/* The attacks on a server that speaks TLS. */
void tls_attack(const char* kind);

#endif
