/*
 * A recorder in place of the C library's function that sets a clock. It has another name than that function, so that a
 * program which opens this library by mistake finds no such function in it. It never sets a clock.
 */
#include <errno.h>
#include <stdint.h>
#include <time.h>

static int s_errno, s_calls;
static clockid_t s_clock;
static struct timespec s_time;

int clock_stub_set(clockid_t clock, const struct timespec *time);
void clock_stub_refuse(int number);
int32_t clock_stub_calls(void);
int32_t clock_stub_is_realtime(void);
int64_t clock_stub_seconds(void);
int64_t clock_stub_nanoseconds(void);

int clock_stub_set(clockid_t clock, const struct timespec *time) {
    s_calls++;
    s_clock = clock;
    s_time = *time;
    if (s_errno == 0) return 0;
    errno = s_errno;
    return -1;
}

void clock_stub_refuse(int number) { s_errno = number; }
int32_t clock_stub_calls(void) { return s_calls; }
int32_t clock_stub_is_realtime(void) { return s_clock == CLOCK_REALTIME; }
int64_t clock_stub_seconds(void) { return s_time.tv_sec; }
int64_t clock_stub_nanoseconds(void) { return s_time.tv_nsec; }
