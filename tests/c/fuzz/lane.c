/* What a worker process can write where the core reads it: records, failures, modules, its seal. */
#include "play.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    play(data, size, NULL);
    return 0;
}
