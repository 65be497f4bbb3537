/* Calls that never return, and are inside the runtime nearly all of the time. */
#include <csetjmp>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <stdexcept>
#include <string>
#include <thread>

#include <sys/wait.h>
#include <unistd.h>

namespace {

enum { ITEMS = 2000 };

int compare(const void *one, const void *other) {
    return *static_cast<const int *>(one) - *static_cast<const int *>(other);
}

thread_local unsigned comparisons;
thread_local jmp_buf before_sorting;

int compare_and_throw(const void *one, const void *other) {
    if (++comparisons % 1000 == 0) {
        throw comparisons;
    }
    return compare(one, other);
}

int compare_and_jump(const void *one, const void *other) {
    if (++comparisons % 1000 == 0) {
        longjmp(before_sorting, 1);
    }
    return compare(one, other);
}

void sort_numbers(int (*by)(const void *, const void *)) {
    int numbers[ITEMS];
    for (int i = 0; i < ITEMS; i++) {
        numbers[i] = i * 7919 % 2003;
    }
    qsort(numbers, ITEMS, sizeof numbers[0], by);
}

/* A child has a copy of the stack, or the stack itself: it must not notice what is wanted of the call. */
void await_child(pid_t child) {
    int status = 0;
    while (waitpid(child, &status, 0) < 0) {
    }
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 3) {
        abort();
    }
}

__attribute__((noinline)) void print_below(int frames) {
    char text[64];
    if (frames > 0) {
        print_below(frames - 1);
    }
    for (unsigned i = 0; frames == 0; i++) {
        snprintf(text, sizeof text, "%u %f %s", i, i * 0.5, "text");
    }
    *static_cast<volatile char *>(text) = 0; /* not a tail call */
}

} // namespace

extern "C" {

void prints() { print_below(0); }
void prints_deep_down() { print_below(5000); }
void allocates() {
    for (;;) {
        free(malloc(24));
        free(malloc(1500));
        free(malloc(200000));
    }
}
void sleeps() {
    for (;;) {
        sleep(1000);
    }
}
void reads() {
    int ends[2];
    char byte;
    if (pipe(ends) != 0) {
        abort();
    }
    while (read(ends[0], &byte, 1) != 1) {
    }
}
void sorts() {
    for (;;) {
        sort_numbers(compare);
    }
}
void sorts_and_throws() {
    for (;;) {
        try {
            sort_numbers(compare_and_throw);
        } catch (unsigned) {
        }
    }
}
void sorts_and_jumps() {
    for (;;) {
        if (setjmp(before_sorting) == 0) {
            sort_numbers(compare_and_jump);
        }
    }
}
void throws() {
    for (unsigned i = 0;; i++) {
        try {
            throw std::runtime_error(std::string(i % 300, 'x'));
        } catch (const std::exception &) {
        }
    }
}
void forks() {
    for (;;) {
        pid_t child = fork();
        if (child == 0) {
            _exit(3);
        }
        await_child(child);
    }
}
void vforks() {
    for (;;) {
        pid_t child = vfork();
        if (child == 0) {
            _exit(3);
        }
        await_child(child);
    }
}
void joins() {
    for (;;) {
        std::thread([] {}).join();
    }
}
/* Asked for by an argument: what this thread blocks; then it never returns. */
void blocks_a_signal() {
    sigset_t one;
    sigemptyset(&one);
    sigaddset(&one, SIGUSR2);
    pthread_sigmask(SIG_BLOCK, &one, nullptr);
    print_below(0);
}
int blocked() {
    sigset_t now;
    pthread_sigmask(SIG_BLOCK, nullptr, &now);
    return sigismember(&now, SIGUSR2);
}
/* Whether the runtime can still be used, by all that it was left in. */
int is_sound() {
    char text[64];
    for (int i = 0; i < 10000; i++) {
        free(malloc(static_cast<size_t>(i)));
    }
    snprintf(text, sizeof text, "%f", 0.5);
    sort_numbers(compare);
    fflush(nullptr);
    try {
        throw 5;
    } catch (int) {
    }
    std::thread([] { free(malloc(1500)); }).join();
    return std::string(text) == "0.500000" && std::uncaught_exceptions() == 0;
}
}
