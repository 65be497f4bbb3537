/*
 * What the author of a native function may call when it runs under aionif.
 *
 * The header needs no library: aionif's core provides the symbol when it is in the process, and
 * where it is not (a test program, another host) every call below gives the answer that lets the
 * function run on undisturbed.
 *
 *     long sum = 0;
 *     for (size_t i = 0; i < n && !aionif_should_stop(); i++)
 *         sum += work(i);
 */
#ifndef AIONIF_H
#define AIONIF_H

#ifdef __cplusplus
extern "C" {
#endif

/*
 * Weak, so that a library that uses this header also loads where aionif is not. The dynamic linker
 * binds it once, when the library is loaded: the core has to be in the global scope by then.
 * Default visibility is spelled out because under -fvisibility=hidden the reference would be bound
 * inside the library and stay null for ever.
 */
extern int aionif_core_should_stop(void) __attribute__((weak, visibility("default")));

/*
 * True once the running call is past its deadline or was cancelled. A long function should ask now
 * and then, release what it holds and return: its result is dropped, but its locks and memory are
 * not lost, as they are when the call has to be aborted: that is put off for 100 ms where the call
 * has asked before. Always 0 outside a call. Any thread; a few nanoseconds; keeps errno.
 */
static inline int aionif_should_stop(void) {
    return aionif_core_should_stop ? aionif_core_should_stop() : 0;
}

#ifdef __cplusplus
}
#endif

#endif
