#include "lanes/state.h"

struct aionif__core aionif__core = {.lock = PTHREAD_MUTEX_INITIALIZER};

void aionif__lock(void) { pthread_mutex_lock(&aionif__core.lock); }

void aionif__unlock(void) { pthread_mutex_unlock(&aionif__core.lock); }
