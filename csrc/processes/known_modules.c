/* Which files a sealed worker may name.
 *
 * What a report says of modules is read as paths by whoever looks for names and lines in them. A worker
 * under foreign control could name any file, and have it opened with the rights of this process. So a
 * module is believed only where this process has it too: it is loaded here, or the catalog has it, by
 * the same path and the same build. Both lists are this process's own. A frame in another file keeps
 * its address alone. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "processes/known_modules.h"

#include "faults/modules.h"
#include "lanes/state.h"
#include "processes/window.h"

#include <string.h>

void aionif__forget_unknown(struct aionif_module *modules, uint32_t count, uint8_t *of_frames) {
    for (uint32_t i = 0; i < count; i++) {
        aionif__lock();
        bool known = aionif__catalog_has(&modules[i]);
        aionif__unlock();
        if (known || aionif__modules_have(&modules[i])) {
            continue;
        }
        memset(&modules[i], 0, sizeof modules[i]);
        for (int frame = 0; frame < AIONIF_FRAMES; frame++) {
            of_frames[frame] = of_frames[frame] == i + 1 ? 0 : of_frames[frame];
        }
    }
}
