/* Parallel regions in which one thread crashes or does not end. */
#include <omp.h>

static volatile int released;

/* The right sum, or how it is wrong, and how many threads made it: sum * 100 + threads. */
int sum(int count) {
    long total = 0;
    int threads = 0;
#pragma omp parallel for reduction(+ : total) num_threads(4)
    for (int i = 0; i < count; i++) {
        total += i % 7;
        if (i == 0) {
            threads = omp_get_num_threads();
        }
    }
    long expected = 0;
    for (int i = 0; i < count; i++) {
        expected += i % 7;
    }
    return total == expected ? threads : -1;
}

static void burn(void) {
    while (!released) {
        __asm__ volatile("");
    }
}

/* who: 0 the thread that called, 1 another one, 2 all of them */
int spin(int who) {
#pragma omp parallel num_threads(4)
    {
        int number = omp_get_thread_num();
        if (who == 2 || (who == 0 && number == 0) || (who == 1 && number == 1)) {
            burn();
        }
    }
    return 0;
}

int crash(int who) {
#pragma omp parallel num_threads(4)
    {
        if (omp_get_thread_num() == who) {
            *(volatile int *)8 = 1;
        }
    }
    return 0;
}

int crash_in_critical(void) {
#pragma omp parallel num_threads(4)
    {
#pragma omp critical
        {
            if (omp_get_thread_num() == 0) {
                *(volatile int *)8 = 1;
            }
        }
    }
    return 0;
}

int enter_critical(void) {
    int entered = 0;
#pragma omp parallel num_threads(4)
    {
#pragma omp critical
        entered++;
    }
    return entered;
}

int release(void) {
    released = 1;
    return 0;
}
