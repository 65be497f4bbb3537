/* A native function that may run for long, and stops in good order when it is told to. */
#include "aionif.h"

#include <stdlib.h>

int buffers_in_use; /* to show that nothing is lost */

/* Returns how many primes there are below `limit`, or below where it was told to stop. */
long count_primes(long limit, long *reached) {
    char *composite = calloc((size_t)limit, 1);
    if (!composite) {
        return -1;
    }
    buffers_in_use++;
    long count = 0;
    long n = 2;
    for (; n < limit && !aionif_should_stop(); n++) {
        if (composite[n]) {
            continue;
        }
        count++;
        for (long multiple = 2 * n; multiple < limit; multiple += n) {
            composite[multiple] = 1;
        }
    }
    *reached = n;
    buffers_in_use--;
    free(composite);
    return count;
}
