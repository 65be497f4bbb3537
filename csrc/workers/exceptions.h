/* What C++ knows of the exceptions in progress on a thread. One that was being handled, or on its way, as
 * a call ended would be found by the next one with `throw;`, and std::uncaught_exceptions() would count
 * it for ever. */
#ifndef AIONIF_EXCEPTIONS_H
#define AIONIF_EXCEPTIONS_H

enum { AIONIF__CXX_RUNTIMES = 2 };

/* What __cxa_get_globals returns, by the C++ ABI. */
struct aionif__exceptions {
    void *caught;
    unsigned uncaught;
};

/* Before a call on a thread that has callers of its own, who may be handling one. Costs two loads; until
 * it has been put right for the first time, a thread is taken to have none. */
void aionif__exceptions_note(struct aionif__exceptions before[AIONIF__CXX_RUNTIMES]);
/* After a call that ended abnormally, where no lock is held. NULL: there were none. */
void aionif__exceptions_restore(const struct aionif__exceptions before[AIONIF__CXX_RUNTIMES]);
#endif
