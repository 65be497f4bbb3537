/* A filter that asks: what a workload does is told to another process, which lets it go on.
 *
 * The learn mode's child calls this. Between the filter and the message that hands over its descriptor
 * nothing may be done that the filter asks about: nobody would answer. So both are here and not in
 * Python, which may allocate at any moment. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "sealing/seal.h"

#include "system/passing.h"

#include <errno.h>
#include <linux/seccomp.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#ifndef SECCOMP_FILTER_FLAG_NEW_LISTENER
#define SECCOMP_FILTER_FLAG_NEW_LISTENER (1UL << 3)
#endif

int aionif_seal_listen(const struct aionif_seal *seal, int socket) {
    if (!aionif__seal_is_sound(seal)) {
        return EINVAL;
    }
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) {
        return errno;
    }
    long listener = aionif__seal_install(seal, SECCOMP_FILTER_FLAG_NEW_LISTENER);
    if (listener < 0) {
        return errno;
    }
    int failed = aionif__pass(socket, "L", 1, &(int){(int)listener}, 1, 0) == 1 ? 0 : errno;
    close((int)listener); /* if it was not handed over, this ends all waiting, with ENOSYS */
    return failed;
}
