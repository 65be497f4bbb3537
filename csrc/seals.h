/* Sealing a process, as Python sees it: see the room of that name. */
#ifndef AIONIF_SEALS_H
#define AIONIF_SEALS_H
#include <stdint.h>

/* cdef: begin */
enum aionif_seal_sizes {
    AIONIF_SEAL_CODE = 1024, /* instructions of a filter */
    AIONIF_SEAL_OWN_PIDS = 32,
    AIONIF_SEAL_PATHS = 128,
    AIONIF_SEAL_TEXT = 16384, /* of all paths, each with its NUL */
    AIONIF_SEAL_LIMITS = 4,
    AIONIF_SEAL_NOTES = 16,
    AIONIF_SEAL_NOTE = 256,     /* bytes of one */
    AIONIF_SEAL_MARK = 0x0a11,  /* SECCOMP_RET_DATA of a seal's filter: denied */
    AIONIF_SEAL_FSTAT = 0x0a12, /* likewise: newfstatat(), to be answered as fstat() is */
};

/* What a seal is made of, in the order in which it is applied; bits. */
enum aionif_seal_part {
    AIONIF_SEAL_USER = 1 << 0, /* namespaces */
    AIONIF_SEAL_NET = 1 << 1,
    AIONIF_SEAL_IPC = 1 << 2,
    AIONIF_SEAL_PRIVILEGES = 1 << 3, /* no capabilities, and no way to get any */
    AIONIF_SEAL_SECRECY = 1 << 4,    /* not dumpable: no core, and no debugger of the same user */
    AIONIF_SEAL_RLIMITS = 1 << 5,
    AIONIF_SEAL_FILES = 1 << 6, /* Landlock: no path but those listed */
    AIONIF_SEAL_TCP = 1 << 7,   /* Landlock: no TCP, should the filter let it through */
    AIONIF_SEAL_SCOPE = 1 << 8, /* Landlock: no signals and no abstract sockets to outside */
    AIONIF_SEAL_FILTER = 1 << 9,
    AIONIF_SEAL_PID = 1 << 10,      /* a namespace of process ids, which a zygote has made */
    AIONIF_SEAL_MOUNT = 1 << 11,    /* a root directory with no paths but those listed; likewise */
    AIONIF_SEAL_IDENTITY = 1 << 12, /* what root runs is nobody's */
    AIONIF_SEAL_CGROUP = 1 << 13,   /* a control group of its own, which a zygote has made */
    AIONIF_SEAL_CHILDREN = 1 << 14, /* what it starts ends with it, by either of these */
};

enum aionif_seal_state { AIONIF_SEAL_UNKNOWN = 0, AIONIF_SEAL_REFUSED = 1, AIONIF_SEALED = 2 };

enum aionif_seal_access { AIONIF_SEAL_READ = 1, AIONIF_SEAL_WRITE = 2, AIONIF_SEAL_EXECUTE = 4 };

struct aionif_seal_path {
    uint32_t access; /* enum aionif_seal_access, bits */
    uint32_t at;     /* offset in text */
};

/* A policy ready to be applied. It holds no pointer, so its bytes may be sent to another process. */
struct aionif_seal {
    uint32_t size;     /* of this struct: one of another build is refused */
    uint32_t wanted;   /* enum aionif_seal_part, bits */
    uint32_t required; /* those without which the process must not run */
    uint32_t code_length;
    uint32_t own_pid_count;
    uint32_t path_count;
    int64_t limits[AIONIF_SEAL_LIMITS];      /* see seal.c; negative: none */
    uint32_t own_pids[AIONIF_SEAL_OWN_PIDS]; /* instructions whose k becomes this process's id */
    struct aionif_seal_path paths[AIONIF_SEAL_PATHS];
    uint64_t code[AIONIF_SEAL_CODE]; /* struct sock_filter */
    char text[AIONIF_SEAL_TEXT];
};

struct aionif_seal_note {
    uint32_t part;
    int32_t error; /* errno, or 0 */
    char text[AIONIF_SEAL_NOTE];
};

struct aionif_seal_result {
    uint32_t applied;
    uint32_t missing; /* wanted, and not (or not wholly) in force */
    int32_t landlock; /* version of its interface; 0: there is none */
    uint32_t note_count;
    struct aionif_seal_note notes[AIONIF_SEAL_NOTES];
};

int aionif_landlock_version(void); /* of its interface; 0: this kernel has none for us */
/* Seals the calling process, which should have one thread, for good. 1: sealed. 0: a part that is
 * required is missing; the process is then sealed in part, and good for nothing but to report it. */
int aionif_seal(const struct aionif_seal *seal, struct aionif_seal_result *out);
/* Installs a filter for this thread and those that it starts, and sends the descriptor that is told
 * of NOTIFY outcomes through a Unix socket. The filter must let sendmsg through for that socket.
 * 0, or an errno. */
int aionif_seal_listen(const struct aionif_seal *seal, int socket);

/* In a zygote: what it makes ready for its workers (template.c). What is missing their seals tell. */
void aionif_template_enter(uint32_t wanted); /* namespaces, but for that of process ids */
void aionif_template_missing(uint32_t part, int error, const char *text);
void aionif_template_applied(uint32_t part); /* this, and the one above, by workers too */
int aionif_template_has(uint32_t part);
/* From now on children are in a namespace of process ids of their own. It ends with its first process,
 * whose id is returned, and that one with the pipe of which it is given the end to read. -1, with errno:
 * they are not. `adopt`: have the children of children that have ended. 0, or -1. */
int aionif_template_processes(int pipe_end);
int aionif_template_adopt(void);
int aionif_template_root(void); /* its descriptor; -1, with errno */
int aionif_template_bind(const char *source, const char *place, int writable); /* 0, or an errno */
int aionif_template_close_root(void);                                          /* likewise */
int aionif_template_descriptor(void); /* that a worker needs until it is sealed; -1: none */
/* cdef: end */
#endif
