/*
 * Fixes the random numbers that a process takes from the kernel, where it asks through the C library's symbols: Deno's own generators do. What is
 * looked up in an opened libc.so.6 is not affected. For LD_PRELOAD, which it takes out of the environment: with it, Deno would start no other
 * program. Writes the file that FIXED_RANDOM_SEEN names when it was asked.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/syscall.h>
#include <unistd.h>

__attribute__((constructor)) static void hide(void) { unsetenv("LD_PRELOAD"); }

static void fix(void *bytes, size_t len) {
    const char *seen = getenv("FIXED_RANDOM_SEEN");
    if (seen != NULL) close(open(seen, O_WRONLY | O_CREAT, 0600));
    memset(bytes, 7, len);
}

ssize_t getrandom(void *bytes, size_t len, unsigned int flags) {
    (void)flags;
    fix(bytes, len);
    return (ssize_t)len;
}

int getentropy(void *bytes, size_t len) {
    fix(bytes, len);
    return 0;
}

/* Rust's getrandom crate may make the system call itself. */
long syscall(long number, ...) {
    static long (*real)(long, ...);
    long args[6];
    va_list rest;
    va_start(rest, number);
    for (int i = 0; i < 6; i++) args[i] = va_arg(rest, long);
    va_end(rest);
    if (number == SYS_getrandom) return getrandom((void *)args[0], (size_t)args[1], 0);
    if (real == NULL) real = (long (*)(long, ...))dlsym(RTLD_NEXT, "syscall");
    return real(number, args[0], args[1], args[2], args[3], args[4], args[5]);
}
