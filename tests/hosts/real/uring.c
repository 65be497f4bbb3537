/* Reads that are under way when the call that began them ends. */
#include <liburing.h>
#include <string.h>
#include <unistd.h>

enum { SIZE = 4096, ENTRIES = 256, CRASH = 0, SPIN, WAIT };

static struct io_uring ring;
static int ends[2];

static int begin(char *buffer) {
    if (!ends[1] && (pipe(ends) || io_uring_queue_init(ENTRIES, &ring, 0))) {
        return -1;
    }
    struct io_uring_sqe *entry = io_uring_get_sqe(&ring);
    io_uring_prep_read(entry, ends[0], buffer, SIZE, 0);
    return io_uring_submit(&ring) == 1 ? 0 : -1;
}

static int finish(int how) {
    struct io_uring_cqe *completion;
    if (how == CRASH) {
        *(volatile int *)8 = 1;
    }
    while (how == SPIN) {
        __asm__ volatile("");
    }
    return io_uring_wait_cqe(&ring, &completion);
}

int read_to_stack(int how) {
    char buffer[SIZE];
    int failed = begin(buffer);
    return failed ? failed : finish(how);
}

int read_to_argument(char *buffer, int how) {
    int failed = begin(buffer);
    return failed ? failed : finish(how);
}

/* Feeds all that is read, then counts the bytes of this call's stack that are not as they were left. */
__attribute__((noinline)) static int feed_and_look(char *stack, size_t size, int reads) {
    static char text[SIZE];
    struct io_uring_cqe *completion;
    int wrong = 0;
    memset(stack, 0x5a, size);
    memset(text, 'x', sizeof text);
    for (int i = 0; i < reads; i++) {
        if (write(ends[1], text, sizeof text) != sizeof text) {
            return -1;
        }
        struct __kernel_timespec second = {1, 0};
        if (io_uring_wait_cqe_timeout(&ring, &completion, &second) == 0) {
            io_uring_cqe_seen(&ring, completion);
        } else if (read(ends[0], text, sizeof text) < 0) {
            return -2;
        }
    }
    for (size_t i = 0; i < size; i++) {
        wrong += stack[i] != 0x5a;
    }
    return wrong;
}

int bytes_damaged(int reads) {
    char stack[32 * SIZE];
    return feed_and_look(stack, sizeof stack, reads);
}

int feed(int reads) {
    char none[1];
    return feed_and_look(none, 0, reads);
}

int read_at_once(void) {
    char buffer[SIZE];
    struct io_uring_cqe *completion;
    if (begin(buffer) || write(ends[1], buffer, 10) != 10 ||
        io_uring_wait_cqe(&ring, &completion)) {
        return -1;
    }
    int result = completion->res;
    io_uring_cqe_seen(&ring, completion);
    return result;
}
