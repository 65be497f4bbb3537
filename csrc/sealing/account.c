#include "sealing/account.h"

#include <stdarg.h>
#include <stdio.h>

static void write_note(struct aionif_seal_result *out, uint32_t part, int error, const char *format,
                       va_list arguments) {
    if (out->note_count < AIONIF_SEAL_NOTES) {
        struct aionif_seal_note *note = &out->notes[out->note_count++];
        note->part = part;
        note->error = error;
        vsnprintf(note->text, sizeof note->text, format, arguments);
    }
}

void aionif__seal_note(struct aionif_seal_result *out, uint32_t part, int error, const char *format,
                       ...) {
    va_list arguments;
    va_start(arguments, format);
    write_note(out, part, error, format, arguments);
    va_end(arguments);
}

void aionif__seal_missing(struct aionif__sealing *sealing, uint32_t part, int error,
                          const char *format, ...) {
    sealing->out->missing |= part;
    sealing->out->applied &= ~part;
    va_list arguments;
    va_start(arguments, format);
    write_note(sealing->out, part, error, format, arguments);
    va_end(arguments);
}

void aionif__seal_applied(struct aionif__sealing *sealing, uint32_t part) {
    sealing->out->applied |= part & ~sealing->out->missing;
}
