/*
 * A stand-in for libaws-c-common.so: the nine functions that the binding calls, and the observation of both stand-ins. Not AWS's code.
 *
 * Observation lives here because both libraries need it, and because the SDK's library depends on this one as the real one does.
 */
#define _GNU_SOURCE
#include "stub.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LOG_CAPACITY (256 * 1024)
#define MAX_SCRIPT 64
#define MAX_OBJECTS 4096
#define SYMBOL_LENGTH 80
#define CONTROL_LENGTH 4096

static pthread_mutex_t s_lock = PTHREAD_MUTEX_INITIALIZER;
static char s_log[LOG_CAPACITY];
static size_t s_log_len;

struct script_line {
    char symbol[SYMBOL_LENGTH];
    int mode;
    int after;
};
static struct script_line s_script[MAX_SCRIPT];
static size_t s_script_len;

static struct {
    void *address;
    enum stub_kind kind;
} s_objects[MAX_OBJECTS];
static int64_t s_live[STUB_KINDS];
static int64_t s_not_wiped, s_double_free, s_misuse;
static char s_control_seen[CONTROL_LENGTH];

static volatile uintptr_t s_nowhere = 8;
static __thread int s_last_error;

/* ---- the log ---- */

/* Appends "<pid> <symbol> <objects that are alive>" to the log of other processes. */
static void log_line(const char *symbol) {
    size_t len = strlen(symbol);
    if (s_log_len + len + 1 <= LOG_CAPACITY) {
        memcpy(s_log + s_log_len, symbol, len);
        s_log[s_log_len + len] = '\n';
        s_log_len += len + 1;
    }
    const char *path = getenv("STUB_LOG");
    if (path == NULL) return;
    int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (fd < 0) return;
    long long live = 0;
    for (int kind = 0; kind < STUB_KINDS; kind++) live += s_live[kind];
    char line[SYMBOL_LENGTH + 64];
    int written = snprintf(line, sizeof(line), "%d %s %lld\n", (int)getpid(), symbol, live);
    if (written > 0 && write(fd, line, (size_t)written) < 0) s_misuse++;
    close(fd);
}

size_t stub_log_read(uint8_t *dest, size_t capacity) {
    pthread_mutex_lock(&s_lock);
    size_t len = s_log_len;
    if (capacity > 0 && dest != NULL) memcpy(dest, s_log, len < capacity ? len : capacity);
    pthread_mutex_unlock(&s_lock);
    return len;
}

/* ---- the script ---- */

static void add_script(const char *symbol, int mode, int after) {
    if (s_script_len == MAX_SCRIPT) return;
    struct script_line *line = &s_script[s_script_len++];
    snprintf(line->symbol, sizeof(line->symbol), "%s", symbol);
    line->mode = mode;
    line->after = after;
}

void stub_fail(const uint8_t *symbol, int mode, int after) {
    pthread_mutex_lock(&s_lock);
    add_script((const char *)symbol, mode, after);
    pthread_mutex_unlock(&s_lock);
}

/* A test in another process writes its script to a file; a new content replaces the script that was. */
static void read_control_file(void) {
    const char *path = getenv("STUB_CONTROL");
    if (path == NULL) return;
    char content[CONTROL_LENGTH] = {0};
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd >= 0) {
        ssize_t got = read(fd, content, sizeof(content) - 1);
        if (got < 0) content[0] = 0;
        close(fd);
    }
    if (strcmp(content, s_control_seen) == 0) return;
    memcpy(s_control_seen, content, sizeof(content));
    s_script_len = 0;
    char *rest = content;
    for (char *line = strtok_r(content, "\n", &rest); line != NULL; line = strtok_r(NULL, "\n", &rest)) {
        char symbol[SYMBOL_LENGTH];
        int mode, after;
        if (sscanf(line, "%79s %d %d", symbol, &mode, &after) == 3) add_script(symbol, mode, after);
    }
}

static int take_mode(const char *symbol) {
    for (size_t i = 0; i < s_script_len; i++) {
        struct script_line *line = &s_script[i];
        if (strcmp(line->symbol, symbol) != 0) continue;
        if (line->mode >= 200) {
            static unsigned int seed;
            if (seed == 0) seed = (unsigned int)getpid();
            if (rand_r(&seed) % 1000 >= line->after) continue;
            return line->mode - 200;
        }
        if (line->after-- > 0) return STUB_WORKS;
        if (line->mode >= 100) {
            line->after = 0;
            return line->mode - 100;
        }
        int mode = line->mode;
        memmove(line, line + 1, (s_script_len - i - 1) * sizeof(*line));
        s_script_len--;
        return mode;
    }
    return STUB_WORKS;
}

int stub_enter(const char *symbol) {
    pthread_mutex_lock(&s_lock);
    log_line(symbol);
    read_control_file();
    int mode = take_mode(symbol);
    pthread_mutex_unlock(&s_lock);
    switch (mode) {
        case STUB_HANG:
            for (;;) sleep(3600);
        case STUB_ABORT:
            fprintf(stderr, "Fatal error condition occurred in stub: %s\nExiting Application\n", symbol);
            abort();
        case STUB_SEGFAULT:
            /* A real fault: a raised signal is taken by V8's handler, which waits for the fault to come again. */
            *(volatile int *)s_nowhere = 0;
            break;
        case STUB_SLOW:
            usleep(300 * 1000);
            return STUB_WORKS;
        case STUB_FAIL:
            s_last_error = STUB_ERROR_CODE;
            break;
        case STUB_SILENT:
            fprintf(stderr, "stub: %s was told to fail\n", symbol);
            s_last_error = 0;
            break;
        default:
            break;
    }
    return mode;
}

/* ---- objects ---- */

void stub_count(enum stub_kind kind, int by) {
    pthread_mutex_lock(&s_lock);
    s_live[kind] += by;
    pthread_mutex_unlock(&s_lock);
}

void *stub_new(enum stub_kind kind, size_t size) {
    void *object = calloc(1, size);
    if (object == NULL) return NULL;
    pthread_mutex_lock(&s_lock);
    for (size_t i = 0; i < MAX_OBJECTS; i++) {
        if (s_objects[i].address != NULL) continue;
        s_objects[i].address = object;
        s_objects[i].kind = kind;
        s_live[kind]++;
        pthread_mutex_unlock(&s_lock);
        return object;
    }
    pthread_mutex_unlock(&s_lock);
    free(object);
    return NULL;
}

/* Frees an object that is known; of one that is not, the memory is not touched. What was secret in it must be zero by now. */
bool stub_release(enum stub_kind kind, void *object, const uint8_t *secret, size_t secret_len) {
    pthread_mutex_lock(&s_lock);
    for (size_t i = 0; i < MAX_OBJECTS; i++) {
        if (s_objects[i].address != object || s_objects[i].kind != kind || object == NULL) continue;
        s_objects[i].address = NULL;
        s_live[kind]--;
        for (size_t j = 0; j < secret_len; j++) {
            if (secret[j] == 0) continue;
            s_not_wiped++;
            break;
        }
        pthread_mutex_unlock(&s_lock);
        free(object);
        return true;
    }
    s_double_free++;
    pthread_mutex_unlock(&s_lock);
    return false;
}

int stub_fill(struct aws_byte_buf *out, const uint8_t *bytes, size_t len) {
    uint8_t *memory = stub_new(STUB_BUFFER, len > 0 ? len : 1);
    if (memory == NULL) return -1;
    memcpy(memory, bytes, len);
    static struct aws_allocator allocator;
    *out = (struct aws_byte_buf){.len = len, .buffer = memory, .capacity = len, .allocator = &allocator};
    return 0;
}

int64_t stub_live(int kind) {
    pthread_mutex_lock(&s_lock);
    int64_t live = 0;
    for (int i = 0; i < STUB_KINDS; i++) {
        if (kind == -1 || kind == i) live += s_live[i];
    }
    pthread_mutex_unlock(&s_lock);
    return live;
}

int64_t stub_not_wiped(void) { return s_not_wiped; }
int64_t stub_double_free(void) { return s_double_free; }
int64_t stub_misuse(void) { return s_misuse; }
void stub_note_misuse(void) { s_misuse++; }
void stub_set_error(int code) { s_last_error = code; }

void stub_reset(void) {
    pthread_mutex_lock(&s_lock);
    s_log_len = 0;
    s_script_len = 0;
    s_not_wiped = s_double_free = s_misuse = 0;
    pthread_mutex_unlock(&s_lock);
    s_last_error = 0;
}

/* ---- aws-c-common ---- */

struct aws_string *aws_string_new_from_array(struct aws_allocator *allocator, const uint8_t *bytes, size_t len) {
    if (allocator == NULL) stub_note_misuse();
    if (stub_enter("aws_string_new_from_array") != STUB_WORKS) return NULL;
    struct aws_string *string = stub_new(STUB_STRING, sizeof(struct aws_string) + len + 1);
    if (string == NULL) return NULL;
    string->allocator = allocator;
    string->len = len;
    if (len > 0) memcpy(string->bytes, bytes, len);
    return string;
}

void aws_string_destroy_secure(struct aws_string *string) {
    stub_enter("aws_string_destroy_secure");
    if (string == NULL) return;
    size_t len = string->len;
    explicit_bzero(string->bytes, len);
    stub_release(STUB_STRING, string, string->bytes, len);
}

struct aws_byte_buf aws_byte_buf_from_array(const void *bytes, size_t len) {
    return (struct aws_byte_buf){.len = len, .buffer = (uint8_t *)bytes, .capacity = len, .allocator = NULL};
}

void aws_byte_buf_clean_up_secure(struct aws_byte_buf *buf) {
    stub_enter("aws_byte_buf_clean_up_secure");
    if (buf->buffer != NULL) explicit_bzero(buf->buffer, buf->capacity);
    if (buf->allocator != NULL) stub_release(STUB_BUFFER, buf->buffer, buf->buffer, buf->capacity);
    memset(buf, 0, sizeof(*buf));
}

struct aws_byte_cursor aws_byte_cursor_from_c_str(const char *c_str) {
    return (struct aws_byte_cursor){.len = c_str == NULL ? 0 : strlen(c_str), .ptr = (uint8_t *)c_str};
}

bool aws_byte_cursor_read(struct aws_byte_cursor *cursor, void *dest, size_t len) {
    if (len == 0) return true;
    if (len > cursor->len || cursor->ptr == NULL) return false;
    memcpy(dest, cursor->ptr, len);
    cursor->ptr += len;
    cursor->len -= len;
    return true;
}

int aws_last_error(void) { return s_last_error; }

const char *aws_error_name(int error) { return error == STUB_ERROR_CODE ? "AWS_ERROR_STUB" : "AWS_ERROR_UNKNOWN"; }

const char *aws_error_str(int error) {
    return error == STUB_ERROR_CODE ? "The stand-in was told to fail." : "Unknown error.";
}
