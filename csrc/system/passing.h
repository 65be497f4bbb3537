/* Descriptors that go to another process, with a few bytes, over a socket. */
#ifndef AIONIF_PASSING_H
#define AIONIF_PASSING_H
#include <stddef.h>
#include <sys/socket.h>

enum { AIONIF__PASSED_AT_ONCE = 6 };

/* What sendmsg returns. */
ssize_t aionif__pass(int socket, const void *data, size_t length, const int *descriptors, int count,
                     int flags);
/* What recvmsg returns; *descriptor: the one that came along, or -1. Whoever sends any other number of
 * them gains nothing: those are closed. */
ssize_t aionif__receive(int socket, void *data, size_t length, int *descriptor, int flags);
#endif
