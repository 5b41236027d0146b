/*
 * A stand-in for the C library's part in /dev/nsm: open, ioctl and close of one device, with the checks that the kernel's driver makes. The other
 * symbols (memcpy, memmove, __errno_location) are the C library's own, found through this library's dependency. Not AWS's code.
 *
 * What it answers is scripted by nsm_stub_script (an errno, or a length that is claimed) and nsm_stub_answer; otherwise the request,
 * reversed, `repeat` times over.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/uio.h>

#define FD 4242
#define REQUEST_MAX 0x1000
#define RESPONSE_MAX 0x3000

struct nsm_message {
    struct iovec request;
    struct iovec response;
};

static int s_open_errno, s_ioctl_errno;
static uint64_t s_claimed;
static uint32_t s_repeat = 1;
static uint8_t s_answer[RESPONSE_MAX];
static size_t s_answer_len;
static int32_t s_open, s_opened, s_closed_twice;

void nsm_stub_script(int open_errno, int ioctl_errno, uint64_t claimed, uint32_t repeat);
void nsm_stub_answer(const uint8_t *bytes, size_t len);
int32_t nsm_stub_open(void);
int32_t nsm_stub_opened(void);
int32_t nsm_stub_closed_twice(void);
uint64_t nsm_stub_layout(uint32_t which);

void nsm_stub_script(int open_errno, int ioctl_errno, uint64_t claimed, uint32_t repeat) {
    s_open_errno = open_errno;
    s_ioctl_errno = ioctl_errno;
    s_claimed = claimed;
    s_repeat = repeat;
    s_answer_len = 0;
}

void nsm_stub_answer(const uint8_t *bytes, size_t len) {
    s_answer_len = len < RESPONSE_MAX ? len : RESPONSE_MAX;
    memcpy(s_answer, bytes, s_answer_len);
}

int32_t nsm_stub_open(void) { return s_open; }
int32_t nsm_stub_opened(void) { return s_opened; }
int32_t nsm_stub_closed_twice(void) { return s_closed_twice; }

/* As this machine's compiler has them. */
uint64_t nsm_stub_layout(uint32_t which) {
    const uint64_t values[] = {
        sizeof(struct nsm_message),
        offsetof(struct nsm_message, request.iov_base),
        offsetof(struct nsm_message, request.iov_len),
        offsetof(struct nsm_message, response.iov_base),
        offsetof(struct nsm_message, response.iov_len),
        _IOWR(0x0A, 0, struct nsm_message),
        O_RDWR,
        O_CLOEXEC,
        O_NONBLOCK,
        ENOENT, ENXIO, EACCES, EINVAL, ENOTTY, EMSGSIZE, ETIMEDOUT,
    };
    return which < sizeof(values) / sizeof(values[0]) ? values[which] : UINT64_MAX;
}

static int fail(int number) {
    errno = number;
    return -1;
}

int open(const char *path, int flags, ...) {
    if (s_open_errno != 0) return fail(s_open_errno);
    if (strcmp(path, "/dev/nsm") != 0) return fail(ENOENT);
    if (flags != (O_RDWR | O_CLOEXEC)) return fail(EINVAL);
    s_open++;
    s_opened++;
    return FD;
}

int close(int fd) {
    if (fd != FD || s_open == 0) {
        s_closed_twice++;
        return fail(EBADF);
    }
    s_open--;
    return 0;
}

/* Variadic, as the C library's is: the struct comes by the way that a variadic function looks for it. */
int ioctl(int fd, unsigned long request, ...) {
    va_list rest;
    va_start(rest, request);
    struct nsm_message *message = va_arg(rest, struct nsm_message *);
    va_end(rest);
    if (fd != FD || s_open == 0) return fail(EBADF);
    if (request != _IOWR(0x0A, 0, struct nsm_message)) return fail(ENOTTY);
    if (s_ioctl_errno != 0) return fail(s_ioctl_errno);
    if (message->request.iov_len > REQUEST_MAX) return fail(EMSGSIZE);
    if (message->response.iov_len < RESPONSE_MAX) return fail(EINVAL);
    const uint8_t *in = message->request.iov_base;
    uint8_t *out = message->response.iov_base;
    size_t written = s_answer_len;
    memcpy(out, s_answer, s_answer_len);
    for (uint32_t turn = 0; s_answer_len == 0 && turn < s_repeat; turn++) {
        for (size_t i = message->request.iov_len; i > 0 && written < message->response.iov_len; i--) out[written++] = in[i - 1];
    }
    message->response.iov_len = s_claimed != 0 ? s_claimed : written;
    return 0;
}
