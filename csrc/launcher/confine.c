/* confine SEAL PROGRAM [ARGUMENT...]: becomes another program, sealed.
 *
 * A program that reads files of unknown origin, such as a symboliser, is started through this one: a
 * fork of a process with threads can't seal itself in Python before it executes another program. SEAL
 * is a descriptor of a file with a `struct aionif_seal`, which must allow PROGRAM to be executed.
 *
 * Where a part is missing that the seal requires, nothing is started: the status is 125, as for
 * programs of this kind, with the reason on stderr. 127: PROGRAM can't be executed. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "core.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { SEAL = 1, PROGRAM = 2, NOT_SEALED = 125, NOT_EXECUTED = 127 };

extern char **environ;

static struct aionif_seal seal;
static struct aionif_seal_result result;

int main(int argument_count, char **arguments) {
    if (argument_count <= PROGRAM) {
        fprintf(stderr, "usage: confine SEAL PROGRAM [ARGUMENT...]\n");
        return NOT_SEALED;
    }
    int file = atoi(arguments[SEAL]);
    ssize_t got = pread(file, &seal, sizeof seal, 0); /* one that is too short is not sound */
    close(file);
    if (got < 0 || !aionif_seal(&seal, &result)) {
        fprintf(stderr, "confine: %s\n",
                result.note_count ? result.notes[0].text : "the seal can't be read");
        return NOT_SEALED;
    }
    execve(arguments[PROGRAM], arguments + PROGRAM, environ);
    fprintf(stderr, "confine: %s: %s\n", arguments[PROGRAM], strerror(errno));
    return NOT_EXECUTED;
}
