/* libFuzzer in front of a target that gcc has compiled.
 *
 * libFuzzer is part of clang, but works with any compiler that tells it which code was run. gcc calls a
 * function for each edge (-fsanitize-coverage=trace-pc) and for each comparison (trace-cmp). libFuzzer
 * takes the latter as they are, and has nothing but an empty function for the former: the linker
 * puts this one in its place (--wrap). It counts in a table that libFuzzer looks for by its section's
 * name, and takes for coverage. */
#include <stddef.h>
#include <stdint.h>

enum { COUNTERS = 1 << 14 }; /* several times the edges of the core */

static uint8_t counters[COUNTERS] __attribute__((section("__libfuzzer_extra_counters")));

void __wrap___sanitizer_cov_trace_pc(void);
int LLVMFuzzerRunDriver(int *argument_count, char ***arguments,
                        int (*target)(const uint8_t *data, size_t size));
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

void __wrap___sanitizer_cov_trace_pc(void) {
    uintptr_t pc = (uintptr_t)__builtin_return_address(0);
    counters[(pc ^ pc >> 14) % COUNTERS]++;
}

int main(int argument_count, char **arguments) {
    return LLVMFuzzerRunDriver(&argument_count, &arguments, LLVMFuzzerTestOneInput);
}
