/*
 * Counts the keys in AWS-LC's memory. The loader finds these functions before AWS-LC's own (tests/native/aws_lc), which
 * they call; the other functions of its AEAD are found there at once.
 */
#define _GNU_SOURCE
#include "stub.h"

#include <dlfcn.h>

void *EVP_AEAD_CTX_new(const void *aead, const uint8_t *key, size_t key_len, size_t tag_len) {
    void *(*make)(const void *, const uint8_t *, size_t, size_t) = dlsym(RTLD_NEXT, "EVP_AEAD_CTX_new");
    void *context = make(aead, key, key_len, tag_len);
    if (context != NULL) stub_count(STUB_KEY, 1);
    stub_enter("EVP_AEAD_CTX_new");
    return context;
}

void EVP_AEAD_CTX_free(void *context) {
    void (*release)(void *) = dlsym(RTLD_NEXT, "EVP_AEAD_CTX_free");
    release(context);
    if (context != NULL) stub_count(STUB_KEY, -1);
    stub_enter("EVP_AEAD_CTX_free");
}
