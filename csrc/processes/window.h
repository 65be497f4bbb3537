/* The window, the parent's blocks in it, and the catalog of functions. */
#ifndef AIONIF_WINDOW_H
#define AIONIF_WINDOW_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

uint64_t aionif__window(void);
size_t aionif__segment_size(void);
struct aionif_module;
bool aionif__catalog_has(const struct aionif_module *module); /* under the core's lock */
uint32_t aionif__catalog_count(void);
void aionif__catalog_forked(void);
uint32_t aionif__catalog_first(uint32_t entry); /* the first entry of the same file */
#endif
