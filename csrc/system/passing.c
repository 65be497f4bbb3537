#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "system/passing.h"

#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

union ancillary {
    struct cmsghdr header;
    char bytes[CMSG_SPACE(AIONIF__PASSED_AT_ONCE * sizeof(int))];
};

ssize_t aionif__pass(int socket, const void *data, size_t length, const int *descriptors, int count,
                     int flags) {
    struct iovec text = {(void *)data, length};
    union ancillary ancillary = {0};
    size_t size = (size_t)count * sizeof *descriptors;
    struct msghdr message = {.msg_iov = &text,
                             .msg_iovlen = 1,
                             .msg_control = ancillary.bytes,
                             .msg_controllen = CMSG_SPACE(size)};
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(size);
    memcpy(CMSG_DATA(header), descriptors, size);
    return sendmsg(socket, &message, flags | MSG_NOSIGNAL);
}

/* The kernel closes those for which there is no room, and pads the room: one more may fit. */
static int only_one(struct msghdr *message) {
    struct cmsghdr *header = CMSG_FIRSTHDR(message);
    if (!header || header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS) {
        return -1;
    }
    int found[AIONIF__PASSED_AT_ONCE];
    size_t size = header->cmsg_len - CMSG_LEN(0);
    memcpy(found, CMSG_DATA(header), size);
    if (size == sizeof *found) {
        return found[0];
    }
    for (size_t i = 0; i < size / sizeof *found; i++) {
        close(found[i]);
    }
    return -1;
}

ssize_t aionif__receive(int socket, void *data, size_t length, int *descriptor, int flags) {
    struct iovec text = {data, length};
    union ancillary ancillary = {0};
    struct msghdr message = {.msg_iov = &text,
                             .msg_iovlen = 1,
                             .msg_control = ancillary.bytes,
                             .msg_controllen = CMSG_SPACE(sizeof(int))};
    ssize_t got = recvmsg(socket, &message, flags | MSG_CMSG_CLOEXEC);
    *descriptor = got < 0 ? -1 : only_one(&message);
    return got;
}
