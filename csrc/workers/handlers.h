/* What others do to this process meanwhile, and is looked at anew. */
#ifndef AIONIF_HANDLERS_H
#define AIONIF_HANDLERS_H

void aionif__stay_in_front(void); /* of handlers that others have installed since; under the lock */
#endif
