/*
 * The little JSON and base64 that the stand-in for KMS needs. Lenient where the product writes the JSON, bounded everywhere.
 */
#ifndef DENCLAVE_STUB_JSON_H
#define DENCLAVE_STUB_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define STUB_CONTEXT_LENGTH 4096
#define STUB_CONTEXT_ENTRIES 32

struct json_text {
    const char *text;
    size_t len;
};

/* Reads a string from its opening quote; returns what follows the closing one, or NULL. Escapes beyond ASCII are refused. */
static const char *json_read_string(const char *at, const char *end, char *out, size_t cap) {
    size_t len = 0;
    if (at >= end || *at != '"') return NULL;
    for (at++; at < end && *at != '"'; at++) {
        char byte = *at;
        if (byte == '\\') {
            if (++at >= end) return NULL;
            switch (*at) {
                case 'n': byte = '\n'; break;
                case 't': byte = '\t'; break;
                case 'r': byte = '\r'; break;
                case 'b': byte = '\b'; break;
                case 'f': byte = '\f'; break;
                case 'u': {
                    if (end - at < 5) return NULL;
                    char hex[5] = {at[1], at[2], at[3], at[4], 0};
                    long code = strtol(hex, NULL, 16);
                    if (code > 0x7f) return NULL;
                    byte = (char)code;
                    at += 4;
                    break;
                }
                default: byte = *at;
            }
        }
        if (len + 1 >= cap) return NULL;
        out[len++] = byte;
    }
    if (at >= end) return NULL;
    out[len] = 0;
    return at + 1;
}

static int compare_entries(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

/* An object of strings as "key=value\n" lines, sorted. */
static inline bool json_canonical_map(const char *text, size_t len, char *out) {
    const char *at = text, *end = text + len;
    char *entries[STUB_CONTEXT_ENTRIES];
    size_t count = 0;
    bool ok = at < end && *at++ == '{';
    while (ok && at < end && *at != '}') {
        char key[512], value[512];
        at = json_read_string(at, end, key, sizeof(key));
        ok = at != NULL && at < end && *at == ':';
        if (!ok) break;
        at = json_read_string(at + 1, end, value, sizeof(value));
        ok = at != NULL && count < STUB_CONTEXT_ENTRIES && asprintf(&entries[count], "%s=%s\n", key, value) > 0;
        if (!ok) break;
        count++;
        if (at < end && *at == ',') at++;
    }
    qsort(entries, count, sizeof(entries[0]), compare_entries);
    out[0] = 0;
    for (size_t i = 0; i < count; i++) {
        if (strlen(out) + strlen(entries[i]) < STUB_CONTEXT_LENGTH) strcat(out, entries[i]);
        free(entries[i]);
    }
    return ok;
}

/* Where the value of a field begins, wherever in the document the field is; NULL when it is not there. */
static const char *json_value(const struct json_text *body, const char *field) {
    char quoted[128];
    int len = snprintf(quoted, sizeof(quoted), "\"%s\":", field);
    return memmem(body->text, body->len, quoted, (size_t)len) == NULL
               ? NULL
               : (const char *)memmem(body->text, body->len, quoted, (size_t)len) + len;
}

static inline bool json_string(const struct json_text *body, const char *field, char *out, size_t cap) {
    const char *at = json_value(body, field);
    return at != NULL && json_read_string(at, body->text + body->len, out, cap) != NULL;
}

static inline void json_context(const struct json_text *body, char *out) {
    const char *at = json_value(body, "EncryptionContext");
    out[0] = 0;
    if (at != NULL) json_canonical_map(at, (size_t)(body->text + body->len - at), out);
}

static const char base64_alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

static inline void base64_encode(const uint8_t *bytes, size_t len, char *out) {
    for (size_t i = 0; i < len; i += 3) {
        uint32_t group = (uint32_t)bytes[i] << 16 | (i + 1 < len ? bytes[i + 1] << 8 : 0) | (i + 2 < len ? bytes[i + 2] : 0);
        *out++ = base64_alphabet[group >> 18];
        *out++ = base64_alphabet[group >> 12 & 63];
        *out++ = i + 1 < len ? base64_alphabet[group >> 6 & 63] : '=';
        *out++ = i + 2 < len ? base64_alphabet[group & 63] : '=';
    }
    *out = 0;
}

/* The bytes of a base64 field; 0 when there is none, or it is too long. */
static inline size_t json_base64(const struct json_text *body, const char *field, uint8_t *out, size_t cap) {
    static __thread char text[64 * 1024];
    if (!json_string(body, field, text, sizeof(text))) return 0;
    size_t len = 0;
    uint32_t group = 0;
    int bits = 0;
    for (const char *at = text; *at != 0 && *at != '='; at++) {
        const char *found = strchr(base64_alphabet, *at);
        if (found == NULL) return 0;
        group = group << 6 | (uint32_t)(found - base64_alphabet);
        bits += 6;
        if (bits < 8) continue;
        bits -= 8;
        if (len == cap) return 0;
        out[len++] = (uint8_t)(group >> bits);
    }
    return len;
}

#endif
