/* What wakes the watchdog. It sleeps until the next thing that has to be looked at is due; whoever
 * makes something due earlier wakes it. All but `sleep` and `seen` under the core's lock, or where no
 * watchdog runs. */
#ifndef AIONIF_ALARM_H
#define AIONIF_ALARM_H
#include <stdint.h>

#define AIONIF__MILLISECOND ((int64_t)1000000)
#define AIONIF__TICK (10 * AIONIF__MILLISECOND) /* of the watchdog, while anything is under way */

void aionif__alarm_wake(int64_t by_ns); /* unless it looks by then anyway */
void aionif__alarm_ring(void);          /* in any case */

/* The watchdog's own. A ring after `seen` ends the sleep that begins with it, so none is missed. */
uint32_t aionif__alarm_seen(void);
void aionif__alarm_awake(void);             /* whoever has news from here on need not ring */
void aionif__alarm_expect(int64_t next_ns); /* INT64_MAX: nothing */
void aionif__alarm_sleep(int64_t until_ns, uint32_t seen);

/* News that come through no lane (of processes, say) are asked for each time the watchdog looks. Who
 * is asked returns by when it is to be asked again; INT64_MAX: whenever there is a reason to look. */
void aionif__alarm_hear(int64_t (*ask)(void)); /* the same one twice is one */
int64_t aionif__alarm_ask(void);
#endif
