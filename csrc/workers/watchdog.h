/* The watchdog: one thread for the process, while anyone needs it. */
#ifndef AIONIF_WATCHDOG_H
#define AIONIF_WATCHDOG_H
#include <stdbool.h>

/* None of these under the core's lock. False, with errno: it could not be started. */
bool aionif__watchdog_hold(void);
void aionif__watchdog_release(void); /* one `hold` less */
bool aionif__watchdog_keep(void);    /* hold it for good */
void aionif__watchdog_forked(void);
#endif
