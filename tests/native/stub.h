/*
 * What the two stand-ins share: struct layouts as in the headers of aws-c-common and the Nitro Enclaves SDK, and the controls by which tests
 * script failures and look at what happened. None of this is AWS's code.
 */
#ifndef DENCLAVE_STUB_H
#define DENCLAVE_STUB_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct aws_allocator {
    int unused;
};

struct aws_mutex {
    pthread_mutex_t mutex_handle;
    bool initialized;
};

struct aws_condition_variable {
    pthread_cond_t condition_handle;
    bool initialized;
};

/* As in aws/nitro_enclaves/rest.h, up to what is read. */
struct rest_client_head {
    struct aws_allocator *allocator;
    void *tls_ctx;
    struct aws_mutex mutex;
    struct aws_condition_variable c_var;
    void *connection;
    struct aws_string *service;
    struct aws_string *region;
};

/* As in aws/nitro_enclaves/attestation.h. */
struct rsa_keypair_head {
    struct aws_allocator *allocator;
    void *key_impl;
};

struct aws_string {
    struct aws_allocator *allocator;
    size_t len;
    uint8_t bytes[];
};

struct aws_byte_buf {
    size_t len;
    uint8_t *buffer;
    size_t capacity;
    struct aws_allocator *allocator;
};

struct aws_byte_cursor {
    size_t len;
    uint8_t *ptr;
};

/* Kinds of objects that are counted while they live. */
enum stub_kind { STUB_STRING, STUB_BUFFER, STUB_CONFIG, STUB_CLIENT, STUB_RESPONSE, STUB_LIBRARY, STUB_KEY, STUB_KINDS };

/* How a scripted symbol misbehaves; plus 100, every time instead of once; plus 200, by chance, `after` times in 1,000. */
enum stub_mode {
    STUB_WORKS = 0,
    STUB_FAIL = 1,     /* fails with aws_last_error() set */
    STUB_HANG = 2,     /* never comes back */
    STUB_ABORT = 3,    /* prints what a failed assertion of the SDK prints, and aborts */
    STUB_SEGFAULT = 4, /* crashes */
    STUB_CLOSED = 5,   /* the peer has closed the client's connection: it says so, and a request on it never returns */
    STUB_SILENT = 6,   /* fails with aws_last_error() 0 */
    STUB_SLOW = 7,     /* works, after 300 ms */
    STUB_LAYOUT = 8,   /* the client's own struct is another one */
    STUB_SHIFTED = 9,  /* the rest client's struct is another one from the mutex on */
    STUB_ENVELOPE = 10, /* KMS answers 200 with something that is no envelope; the SDK's own calls crash on that */
    STUB_NO_ENVELOPE = 11, /* KMS answers 200 without an envelope; the SDK's own calls crash on that */
    STUB_TLS = 12,     /* the TLS handshake fails, after STUB_TLS_MS milliseconds */
    STUB_REFUSED = 13, /* nobody listens on the proxy's port */
    STUB_DNS = 14,     /* the name does not resolve */
    STUB_NO_ANSWER = 15, /* the connection breaks in the middle of the request: no answer */
    STUB_REFUSED_HANG = 16, /* nobody listens on the proxy's port; it says so, and never comes back */
    STUB_DISCONNECTED = 17, /* the connection closes in the middle of the request; it says so, and never comes back */
    STUB_RESET = 18,   /* the connection is reset: while it is made, or in the middle of the request, after which it never comes back */
    STUB_EXPIRED = 19, /* the certificate has expired */
    STUB_ANSWER = 20   /* the answer's struct is another one */
};

#define STUB_ERROR_CODE 34

/* For tests, through FFI. */
void stub_reset(void);
void stub_fail(const uint8_t *symbol, int mode, int after);
size_t stub_log_read(uint8_t *dest, size_t capacity);
int64_t stub_live(int kind); /* -1: all kinds */
int64_t stub_not_wiped(void);
int64_t stub_double_free(void);
int64_t stub_misuse(void);

/* For the stand-in of the SDK. */
int stub_enter(const char *symbol); /* logs, and acts out a script; returns the mode that is left to the caller */
void *stub_new(enum stub_kind kind, size_t size);
bool stub_release(enum stub_kind kind, void *object, const uint8_t *secret, size_t secret_len);
void stub_count(enum stub_kind kind, int by);
void stub_note_misuse(void);
void stub_set_error(int code);
int stub_fill(struct aws_byte_buf *out, const uint8_t *bytes, size_t len);

#endif
