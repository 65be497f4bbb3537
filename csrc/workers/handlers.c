#include "workers/handlers.h"

#include "faults/exits.h"
#include "faults/fault.h"
#include "faults/modules.h"
#include "lanes/events.h"

void aionif__stay_in_front(void) {
    int displaced = aionif__fault_reclaim();
    if (displaced) {
        aionif__core_event(AIONIF_CORE_DISPLACED, displaced, 0, NULL, "", "");
    }
}

/* Libraries were loaded. */
void aionif_refresh(void) {
    aionif__lock();
    aionif__modules_refresh();
    aionif__exits_watch();
    aionif__unlock();
}
