/* Guarded stacks: where they may be touched, how their use is measured, and alternate stacks. */
#include "check.h"
#include "threads/stack.h"

static size_t page;

/* Asks the kernel, which answers instead of faulting. */
static bool readable(uintptr_t address) {
    static int ends[2];
    if (!ends[1] && pipe(ends) != 0) {
        abort();
    }
    char byte;
    return write(ends[1], (const void *)address, 1) == 1 && read(ends[0], &byte, 1) == 1;
}

static void test_map(size_t size, size_t guard) {
    struct aionif__stack stack = {0};
    if (!CHECK(aionif__stack_map(&stack, size, guard))) {
        return;
    }
    CHECK(stack.guard_low % page == 0 && stack.low % page == 0 && stack.top % page == 0);
    CHECK(stack.low - stack.guard_low >= guard && stack.low - stack.guard_low < guard + page);
    CHECK(stack.top - stack.low >= size && stack.top - stack.low < size + page);
    CHECK(readable(stack.low) && readable(stack.top - 1));
    CHECK(!readable(stack.low - 1) && !readable(stack.guard_low));
    *(volatile char *)stack.low = 1;
    *(volatile char *)(stack.top - 1) = 1;
    uintptr_t low = stack.low, guard_low = stack.guard_low;
    aionif__stack_unmap(&stack);
    CHECK(stack.low == 0 && stack.top == 0 && stack.guard_low == 0);
    CHECK(!readable(low) && !readable(guard_low));
    aionif__stack_unmap(&stack); /* of one that is not mapped: nothing */
}

static void test_maps(void) {
    check_case("mapping");
    test_map(16384, 65536);
    test_map(1, 1);
    test_map(1 << 20, 8 << 20);
    test_map(100001, 70001);
    struct aionif__stack stack = {0};
    CHECK(!aionif__stack_map(&stack, (size_t)1 << 60, 65536));
    CHECK_EQUAL(stack.low, 0);
    CHECK(aionif__stack_minimum() >= 16384 && aionif__stack_minimum() % page == 0);
}

static void test_measure(void) {
    check_case("measuring");
    struct aionif__stack stack = {0};
    size_t size = 64 * page;
    CHECK(aionif__stack_map(&stack, size, page));
    CHECK_EQUAL(aionif__stack_used(&stack), 0);
    uint64_t seed = 88172645463325252;
    for (int i = 0; i < 200; i++) {
        size_t used = 8 * (1 + check_random(&seed) % (size / 8));
        *(uint64_t *)(stack.top - used) = 1;
        *(uint64_t *)(stack.top - 8) = check_random(&seed) % 2; /* zeros above don't matter */
        *(uint64_t *)(stack.top - used) = 1;
        CHECK_EQUAL(aionif__stack_used(&stack), used);
        aionif__stack_clear(&stack);
        CHECK_EQUAL(aionif__stack_used(&stack), 0);
    }
    aionif__stack_unmap(&stack);
}

static void test_altstack(void) {
    check_case("alternate stacks");
    struct aionif__altstack altstack = {0};
    stack_t before, now;
    sigaltstack(NULL, &before);
    CHECK(aionif__altstack_enter(&altstack));
    sigaltstack(NULL, &now);
    CHECK(now.ss_sp == (void *)altstack.stack.low && now.ss_flags == 0);
    CHECK(aionif__signal_frame() >= 2048);
    CHECK(now.ss_size >= 128 * 1024 && now.ss_size >= aionif__signal_frame() + 64 * 1024);
    CHECK(!readable(altstack.stack.low - 1));
    aionif__altstack_leave(&altstack);
    sigaltstack(NULL, &now);
    CHECK_EQUAL(now.ss_flags, SS_DISABLE);

    static char theirs[65536];
    stack_t another = {.ss_sp = theirs, .ss_size = sizeof theirs};
    CHECK(aionif__altstack_enter(&altstack));
    CHECK_EQUAL(sigaltstack(&another, NULL), 0);
    aionif__altstack_leave(&altstack);
    sigaltstack(NULL, &now);
    CHECK(now.ss_sp == theirs && now.ss_flags == 0); /* left alone */
    sigaltstack(&before, NULL);
}

int main(void) {
    check_deadline(30);
    page = (size_t)sysconf(_SC_PAGESIZE);
    test_maps();
    test_measure();
    test_altstack();
    return check_report();
}
