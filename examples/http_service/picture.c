/* A decoder of run-length coded pictures, with the kind of bug that decoders have: it believes a
 * number in its input.
 *
 *   "PIC1", width, height, offset of the runs (u32 each, little endian), then pairs: count, grey
 *
 * Returns the mean grey of the picture in 1/1000, or -1 for what is not a picture. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

static uint32_t number(const uint8_t *at) {
    return at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
}

long mean_grey(const unsigned char *file, size_t length) {
    if (length < 16 || memcmp(file, "PIC1", 4) != 0) {
        return -1;
    }
    size_t pixels = (size_t)number(file + 4) * number(file + 8);
    const uint8_t *run = file + number(file + 12); /* the bug: it may be anywhere */
    uint64_t sum = 0;
    for (size_t done = 0; done < pixels; run += 2) {
        if (run[0] == 0) {
            return -1;
        }
        sum += (uint64_t)run[0] * run[1];
        done += run[0];
    }
    return pixels ? (long)(sum * 1000 / pixels) : -1;
}
