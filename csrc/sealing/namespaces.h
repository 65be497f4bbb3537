/* Namespaces of one's own. */
#ifndef AIONIF_NAMESPACES_H
#define AIONIF_NAMESPACES_H
#include "sealing/account.h"

/* Enters one in which its user has all capabilities. False: not, or not wholly. */
bool aionif__namespaces_of_user(void);
/* Those that are wanted: each is applied or missing. */
void aionif__seal_namespaces(struct aionif__sealing *sealing);
#endif
