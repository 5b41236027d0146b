/*
 * A stand-in for libaws-nitro-enclaves-sdk-c.so: no network, no NSM, no TLS. It keeps to the real one's signatures, layouts, order of life
 * and return codes, and plays KMS with a cipher that is none. Not AWS's code.
 *
 * A ciphertext: "STUBKMS1", u32 little-endian FNV-1a of the canonical EncryptionContext, u8 length of the key id, key id, plaintext XOR 0x5A.
 * A CiphertextForRecipient: the head of a CMS EnvelopedData, "STUBCMS1", 32 bytes of a key XOR the client's key pair, 16 bytes of IV, plaintext XOR the key repeated.
 */
#define _GNU_SOURCE
#include "stub.h"
#include "stub_json.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#define MASK 0x5a
#define MAGIC "STUBKMS1"
#define MAGIC_LENGTH 8
/* Begins as a CMS EnvelopedData: SEQUENCE of indefinite length, pkcs7-envelopedData. */
#define CMS_MAGIC "\x30\x80\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x03STUBCMS1"
#define CMS_MAGIC_LENGTH 21
#define KEY_LENGTH 32
#define IV_LENGTH 16
#define DOCUMENT_MAGIC "STUBATT1"
#define MAX_BLOB 8192
#define SOCKET_VSOCK 3

struct endpoint {
    char address[108];
    uint16_t port;
    uint16_t rest; /* of a wider port: zero */
};

struct config {
    struct aws_string *region;
    struct endpoint *endpoint;
    int domain;
    char access_key_id[128];
};

struct keypair {
    struct rsa_keypair_head head; /* key_impl points at the secret */
    uint8_t secret[KEY_LENGTH];
};

struct connection {
    uint64_t magic;
    bool closed;
};

struct rest_client {
    struct rest_client_head head;
    /* From here on it is the stand-in's own. */
    struct connection *connection;
    struct aws_string *strings[2];
    char access_key_id[128];
    struct keypair *keypair;
};

struct client {
    struct aws_allocator *allocator;
    struct rest_client *rest_client;
    struct keypair *keypair;
    /* From here on it is the stand-in's own, whatever the layout before. */
    struct rest_client *rest;
    struct keypair *own_keypair;
};

#define CONNECTION_MAGIC 0x6e6f697463656e6eull

struct response {
    struct aws_allocator *allocator;
    void *message;
    struct aws_byte_cursor cursor;
    struct aws_byte_buf data;
    /* From here on it is the stand-in's own, whatever the layout before. */
    uint8_t *body;
};

static struct aws_allocator s_allocator;
static bool s_initialised;

static void need_library(void) {
    if (!s_initialised) stub_note_misuse();
}

/* ---- life ---- */

void aws_nitro_enclaves_library_init(struct aws_allocator *allocator) {
    (void)allocator;
    stub_enter("aws_nitro_enclaves_library_init");
    if (s_initialised) return;
    s_initialised = true;
    stub_count(STUB_LIBRARY, 1);
}

void aws_nitro_enclaves_library_clean_up(void) {
    stub_enter("aws_nitro_enclaves_library_clean_up");
    if (!s_initialised) return;
    if (stub_live(-1) != 1) stub_note_misuse();
    s_initialised = false;
    stub_count(STUB_LIBRARY, -1);
}

struct aws_allocator *aws_nitro_enclaves_get_allocator(void) {
    int mode = stub_enter("aws_nitro_enclaves_get_allocator");
    if (!s_initialised) abort();
    return mode == STUB_WORKS ? &s_allocator : NULL;
}

int aws_nitro_enclaves_library_seed_entropy(uint64_t bytes) {
    (void)bytes;
    return stub_enter("aws_nitro_enclaves_library_seed_entropy") == STUB_WORKS ? 0 : -1;
}

struct config *aws_nitro_enclaves_kms_client_config_default(
    struct aws_string *region,
    struct endpoint *endpoint,
    int domain,
    struct aws_string *access_key_id,
    struct aws_string *secret_access_key,
    struct aws_string *session_token) {
    need_library();
    if (stub_enter("aws_nitro_enclaves_kms_client_config_default") != STUB_WORKS) return NULL;
    /* The real one reads all three without a look: a NULL is a crash there too. */
    if (access_key_id->len == 0 || secret_access_key->len == 0) stub_note_misuse();
    if (((volatile struct aws_string *)session_token)->len > 1 << 20) stub_note_misuse();
    struct config *config = stub_new(STUB_CONFIG, sizeof(*config));
    if (config == NULL) return NULL;
    config->region = region;
    config->endpoint = endpoint;
    config->domain = domain;
    snprintf(config->access_key_id, sizeof(config->access_key_id), "%.*s", (int)access_key_id->len, (char *)access_key_id->bytes);
    return config;
}

void aws_nitro_enclaves_kms_client_config_destroy(struct config *config) {
    stub_enter("aws_nitro_enclaves_kms_client_config_destroy");
    stub_release(STUB_CONFIG, config, NULL, 0);
}

static void milliseconds(const char *variable) {
    const char *text = getenv(variable);
    if (text != NULL) usleep((useconds_t)atoi(text) * 1000);
}

static struct aws_string *clone_string(const uint8_t *bytes, size_t len) {
    struct aws_string *string = calloc(1, sizeof(*string) + len + 1);
    if (string == NULL) abort();
    string->allocator = &s_allocator;
    string->len = len;
    memcpy(string->bytes, bytes, len);
    return string;
}

/* What the real one prints, as aws_error_debug_str has it. */
static void say_failed(const char *error) {
    fprintf(stderr, "Connection failed with error %s, told so by the script\n", error);
}

static struct client *no_connection(const char *error) {
    say_failed(error);
    stub_set_error(0);
    return NULL;
}

/* What the real one does where nobody wakes the waiting thread, or where it was woken before it waited. */
static void wait_for_ever(void) {
    for (;;) sleep(3600);
}

struct client *aws_nitro_enclaves_kms_client_new(struct config *config) {
    need_library();
    int mode = stub_enter("aws_nitro_enclaves_kms_client_new");
    if (mode == STUB_TLS) {
        milliseconds("STUB_TLS_MS");
        return no_connection("aws-c-io: AWS_IO_TLS_ERROR_NEGOTIATION_FAILURE");
    }
    if (mode == STUB_REFUSED) return no_connection("aws-c-io: AWS_IO_SOCKET_CONNECTION_REFUSED");
    if (mode == STUB_REFUSED_HANG) {
        say_failed("aws-c-io: AWS_IO_SOCKET_CONNECTION_REFUSED");
        wait_for_ever();
    }
    if (mode == STUB_DNS) return no_connection("aws-c-io: AWS_IO_DNS_INVALID_NAME");
    if (mode == STUB_RESET) return no_connection("aws-c-common: AWS_ERROR_SYS_CALL_FAILURE");
    if (mode == STUB_EXPIRED) return no_connection("aws-c-io: AWS_IO_TLS_CERTIFICATE_EXPIRED");
    if (mode != STUB_WORKS && mode != STUB_LAYOUT && mode != STUB_SHIFTED) return NULL;
    /* Region and endpoint are read here, not before, as the real one does: one that is gone by now shows up. */
    const struct endpoint *endpoint = config->endpoint;
    if (strcmp(endpoint->address, "3") != 0 || endpoint->port == 0 || endpoint->rest != 0 || config->domain != SOCKET_VSOCK ||
        config->region->len < 9) {
        fprintf(stderr, "stub: Connection failed\n");
        stub_set_error(0);
        return NULL;
    }
    milliseconds("STUB_CONNECT_MS");
    struct client *client = stub_new(STUB_CLIENT, sizeof(*client));
    struct keypair *keypair = calloc(1, sizeof(*keypair));
    struct rest_client *rest = calloc(1, sizeof(*rest));
    struct connection *connection = calloc(1, sizeof(*connection));
    if (client == NULL || keypair == NULL || rest == NULL || connection == NULL ||
        getrandom(keypair->secret, KEY_LENGTH, 0) != KEY_LENGTH)
        abort();
    keypair->head = (struct rsa_keypair_head){.allocator = &s_allocator, .key_impl = keypair->secret};
    connection->magic = CONNECTION_MAGIC;
    memcpy(rest->access_key_id, config->access_key_id, sizeof(rest->access_key_id));
    rest->keypair = keypair;
    rest->connection = connection;
    rest->strings[0] = clone_string((const uint8_t *)"kms", 3);
    rest->strings[1] = clone_string(config->region->bytes, config->region->len);
    rest->head.allocator = &s_allocator;
    rest->head.tls_ctx = connection; /* any address */
    rest->head.mutex.initialized = true;
    rest->head.c_var.initialized = true;
    rest->head.connection = connection;
    rest->head.service = rest->strings[0];
    rest->head.region = rest->strings[1];
    if (mode == STUB_SHIFTED) memmove((char *)&rest->head.mutex + 8, &rest->head.mutex, sizeof(rest->head) - 24);
    client->allocator = &s_allocator;
    client->rest_client = client->rest = rest;
    client->keypair = client->own_keypair = keypair;
    if (mode == STUB_LAYOUT) {
        client->allocator = (void *)rest;
        client->rest_client = (void *)keypair;
        client->keypair = (void *)8;
    }
    return client;
}

void aws_nitro_enclaves_kms_client_destroy(struct client *client) {
    stub_enter("aws_nitro_enclaves_kms_client_destroy");
    struct client copy = *client;
    if (!stub_release(STUB_CLIENT, client, NULL, 0)) return;
    free(copy.own_keypair);
    free(copy.rest->connection);
    free(copy.rest->strings[0]);
    free(copy.rest->strings[1]);
    free(copy.rest);
}

static void request_on_closed(void) {
    fprintf(stderr, "failed to create request.");
    wait_for_ever();
}

/* What the real ones do with an answer that has no envelope: they clean up buffers that nobody initialised. */
static void crash(void) {
    static volatile uintptr_t nowhere = 8;
    *(volatile int *)nowhere = 0;
}

bool aws_http_connection_is_open(const struct connection *connection) {
    if (connection == NULL || connection->magic != CONNECTION_MAGIC) {
        stub_note_misuse();
        return false;
    }
    if (stub_enter("aws_http_connection_is_open") != STUB_WORKS) ((struct connection *)connection)->closed = true;
    return !connection->closed;
}

/* Closed for new requests alone, as after GOAWAY: a request never returns. */
bool aws_http_connection_new_requests_allowed(const struct connection *connection) {
    if (connection == NULL || connection->magic != CONNECTION_MAGIC) {
        stub_note_misuse();
        return false;
    }
    if (stub_enter("aws_http_connection_new_requests_allowed") != STUB_WORKS) ((struct connection *)connection)->closed = true;
    return !connection->closed;
}

/* ---- the KMS that is none ---- */

static uint32_t fnv1a(const char *text) {
    uint32_t hash = 2166136261u;
    for (; *text != 0; text++) hash = (hash ^ (uint8_t)*text) * 16777619u;
    return hash;
}

static bool text_equals(const char *text, const uint8_t *bytes, size_t len) {
    return strlen(text) == len && memcmp(text, bytes, len) == 0;
}

/* The plaintext of a ciphertext, or KMS's name for why not. */
static const char *open_blob(
    const struct rest_client *rest,
    const uint8_t *blob,
    size_t len,
    const char *key_id,
    const char *context,
    uint8_t *plaintext,
    size_t *plaintext_len) {
    if (strncmp(rest->access_key_id, "AKIAEXPIRED", 11) == 0) return "ExpiredTokenException";
    if (strncmp(rest->access_key_id, "AKIADENIED", 10) == 0) return "AccessDeniedException";
    if (len < MAGIC_LENGTH + 5 || len > MAX_BLOB || memcmp(blob, MAGIC, MAGIC_LENGTH) != 0) return "InvalidCiphertextException";
    uint32_t hash;
    memcpy(&hash, blob + MAGIC_LENGTH, sizeof(hash));
    size_t name_len = blob[MAGIC_LENGTH + 4];
    const uint8_t *name = blob + MAGIC_LENGTH + 5;
    if (len < MAGIC_LENGTH + 5 + name_len || hash != fnv1a(context)) return "InvalidCiphertextException";
    if (key_id != NULL && !text_equals(key_id, name, name_len)) return "IncorrectKeyException";
    *plaintext_len = len - MAGIC_LENGTH - 5 - name_len;
    for (size_t i = 0; i < *plaintext_len; i++) plaintext[i] = name[name_len + i] ^ MASK;
    return NULL;
}

static size_t wrap_blob(const char *key_id, const char *context, const uint8_t *plaintext, size_t len, uint8_t *blob) {
    uint32_t hash = fnv1a(context);
    size_t name_len = strlen(key_id);
    memcpy(blob, MAGIC, MAGIC_LENGTH);
    memcpy(blob + MAGIC_LENGTH, &hash, sizeof(hash));
    blob[MAGIC_LENGTH + 4] = (uint8_t)name_len;
    memcpy(blob + MAGIC_LENGTH + 5, key_id, name_len);
    for (size_t i = 0; i < len; i++) blob[MAGIC_LENGTH + 5 + name_len + i] = plaintext[i] ^ MASK;
    return MAGIC_LENGTH + 5 + name_len + len;
}

/* Whether a KMS call goes through at all. */
static bool reaches_kms(struct client *client, const char *symbol) {
    need_library();
    int mode = stub_enter(symbol);
    if (mode == STUB_CLOSED) client->rest->connection->closed = true;
    if (client->rest->connection->closed) request_on_closed();
    if (mode == STUB_ENVELOPE || mode == STUB_NO_ENVELOPE) crash();
    milliseconds("STUB_KMS_MS");
    return mode == STUB_WORKS;
}

static int refuse(void) {
    fprintf(stderr, "Got non-200 answer from KMS: 400\n");
    stub_set_error(0);
    return -1;
}

static int decrypt(
    const char *symbol,
    struct client *client,
    const struct aws_string *key_id,
    const struct aws_string *algorithm,
    const struct aws_byte_buf *ciphertext,
    const struct aws_string *context,
    struct aws_byte_buf *plaintext) {
    if (!reaches_kms(client, symbol)) return -1;
    if (key_id != NULL && algorithm == NULL) {
        fprintf(stderr, "Invalid encryption algorithm\n");
        return -1;
    }
    char canonical[STUB_CONTEXT_LENGTH] = "";
    if (context != NULL && !json_canonical_map((const char *)context->bytes, context->len, canonical)) return -1;
    uint8_t opened[MAX_BLOB];
    size_t len;
    const char *name = key_id == NULL ? NULL : (const char *)key_id->bytes;
    if (open_blob(client->rest, ciphertext->buffer, ciphertext->len, name, canonical, opened, &len) != NULL) return refuse();
    int status = stub_fill(plaintext, opened, len);
    explicit_bzero(opened, sizeof(opened));
    return status;
}

int aws_kms_decrypt_blocking(
    struct client *client,
    const struct aws_string *key_id,
    const struct aws_string *algorithm,
    const struct aws_byte_buf *ciphertext,
    struct aws_byte_buf *plaintext) {
    return decrypt("aws_kms_decrypt_blocking", client, key_id, algorithm, ciphertext, NULL, plaintext);
}

int aws_kms_decrypt_blocking_with_context(
    struct client *client,
    const struct aws_string *key_id,
    const struct aws_string *algorithm,
    const struct aws_byte_buf *ciphertext,
    const struct aws_string *context,
    struct aws_byte_buf *plaintext) {
    return decrypt("aws_kms_decrypt_blocking_with_context", client, key_id, algorithm, ciphertext, context, plaintext);
}

int aws_kms_generate_data_key_blocking(
    struct client *client,
    const struct aws_string *key_id,
    int key_spec,
    struct aws_byte_buf *plaintext,
    struct aws_byte_buf *ciphertext) {
    if (!reaches_kms(client, "aws_kms_generate_data_key_blocking")) return -1;
    if (key_id->len > 255) return refuse();
    uint8_t key[KEY_LENGTH], blob[MAX_BLOB];
    size_t len = key_spec == 0 ? 32 : 16;
    if (getrandom(key, len, 0) != (ssize_t)len) return -1;
    size_t blob_len = wrap_blob((const char *)key_id->bytes, "", key, len, blob);
    int status = stub_fill(plaintext, key, len) | stub_fill(ciphertext, blob, blob_len);
    explicit_bzero(key, sizeof(key));
    return status;
}

int aws_kms_generate_random_blocking(struct client *client, uint32_t length, struct aws_byte_buf *plaintext) {
    if (!reaches_kms(client, "aws_kms_generate_random_blocking")) return -1;
    uint8_t random[1024];
    if (length > sizeof(random) || getrandom(random, length, 0) != (ssize_t)length) return refuse();
    return stub_fill(plaintext, random, length);
}

/* ---- attestation, the lower-level request, the envelope ---- */

int aws_attestation_request(struct aws_allocator *allocator, struct keypair *keypair, struct aws_byte_buf *out) {
    (void)allocator;
    need_library();
    if (stub_enter("aws_attestation_request") != STUB_WORKS) return -1;
    if (keypair->head.key_impl != keypair->secret) stub_note_misuse();
    uint8_t document[8 + KEY_LENGTH];
    memcpy(document, DOCUMENT_MAGIC, 8);
    /* What stands for the public key: not the secret itself. */
    for (size_t i = 0; i < KEY_LENGTH; i++) document[8 + i] = keypair->secret[i] ^ 0xff;
    return stub_fill(out, document, sizeof(document));
}

static size_t seal_envelope(const struct keypair *keypair, const uint8_t *plaintext, size_t len, uint8_t *envelope) {
    uint8_t key[KEY_LENGTH];
    if (getrandom(key, sizeof(key), 0) != sizeof(key)) abort();
    memcpy(envelope, CMS_MAGIC, CMS_MAGIC_LENGTH);
    uint8_t *at = envelope + CMS_MAGIC_LENGTH;
    for (size_t i = 0; i < KEY_LENGTH; i++) at[i] = key[i] ^ keypair->secret[i];
    memset(at + KEY_LENGTH, 7, IV_LENGTH);
    for (size_t i = 0; i < len; i++) at[KEY_LENGTH + IV_LENGTH + i] = plaintext[i] ^ key[i % KEY_LENGTH];
    return CMS_MAGIC_LENGTH + KEY_LENGTH + IV_LENGTH + len;
}

/* Whether the request carries an attestation document of this client's key pair. */
static bool is_attested(const struct rest_client *rest, const struct json_text *body) {
    uint8_t document[MAX_BLOB];
    char algorithm[64];
    size_t len = json_base64(body, "AttestationDocument", document, sizeof(document));
    if (len != 8 + KEY_LENGTH || !json_string(body, "KeyEncryptionAlgorithm", algorithm, sizeof(algorithm))) return false;
    if (strcmp(algorithm, "RSAES_OAEP_SHA_256") != 0) return false;
    for (size_t i = 0; i < KEY_LENGTH; i++) {
        if ((document[8 + i] ^ rest->keypair->secret[i]) != 0xff) return false;
    }
    return true;
}

static void answer(const struct rest_client *rest, const struct aws_byte_cursor *target, const struct json_text *body, char *out, size_t cap) {
    char key_id[256] = "", context[STUB_CONTEXT_LENGTH] = "";
    bool has_key = json_string(body, "KeyId", key_id, sizeof(key_id));
    uint8_t blob[MAX_BLOB], opened[MAX_BLOB], envelope[MAX_BLOB];
    char blob64[MAX_BLOB * 2], envelope64[MAX_BLOB * 2];
    if (!is_attested(rest, body)) {
        snprintf(out, cap, "{\"__type\":\"ValidationException\",\"message\":\"The attestation document does not fit\"}");
        return;
    }
    json_context(body, context);
    if (text_equals("TrentService.GenerateDataKey", target->ptr, target->len)) {
        uint8_t key[KEY_LENGTH];
        char key_spec[16] = "";
        json_string(body, "KeySpec", key_spec, sizeof(key_spec));
        size_t key_len = strcmp(key_spec, "AES_128") == 0 ? 16 : 32;
        if (getrandom(key, sizeof(key), 0) != sizeof(key)) abort();
        base64_encode(blob, wrap_blob(key_id, context, key, key_len, blob), blob64);
        base64_encode(envelope, seal_envelope(rest->keypair, key, key_len, envelope), envelope64);
        snprintf(out, cap, "{\"CiphertextBlob\":\"%s\",\"CiphertextForRecipient\":\"%s\",\"KeyId\":\"%s\"}", blob64, envelope64, key_id);
        return;
    }
    if (text_equals("TrentService.GenerateRandom", target->ptr, target->len)) {
        const char *number = json_value(body, "NumberOfBytes");
        size_t length = number == NULL ? 0 : (size_t)atoi(number);
        if (length < 1 || length > 1024 || getrandom(opened, length, 0) != (ssize_t)length) length = 1;
        base64_encode(envelope, seal_envelope(rest->keypair, opened, length, envelope), envelope64);
        snprintf(out, cap, "{\"CiphertextForRecipient\":\"%s\"}", envelope64);
        return;
    }
    size_t len, blob_len = json_base64(body, "CiphertextBlob", blob, sizeof(blob));
    const char *error = open_blob(rest, blob, blob_len, has_key ? key_id : NULL, context, opened, &len);
    if (error != NULL) {
        snprintf(out, cap, "{\"__type\":\"%s\",\"message\":\"said by the stand-in for KMS\"}", error);
        return;
    }
    base64_encode(envelope, seal_envelope(rest->keypair, opened, len, envelope), envelope64);
    snprintf(out, cap, "{\"CiphertextForRecipient\":\"%s\"}", envelope64);
}

struct response *aws_nitro_enclaves_rest_client_request_blocking(
    struct rest_client *rest,
    struct aws_byte_cursor method,
    struct aws_byte_cursor path,
    struct aws_byte_cursor target,
    struct aws_byte_cursor data) {
    need_library();
    int mode = stub_enter("aws_nitro_enclaves_rest_client_request_blocking");
    if (rest->head.service != rest->strings[0] || rest->head.connection != rest->connection) stub_note_misuse();
    if (mode == STUB_CLOSED) rest->connection->closed = true;
    if (rest->connection->closed) request_on_closed();
    if (mode == STUB_DISCONNECTED || mode == STUB_RESET) {
        fprintf(stderr, "Disconnected.\n");
        if (mode == STUB_RESET) say_failed("aws-c-common: AWS_ERROR_SYS_CALL_FAILURE");
        wait_for_ever();
    }
    if (mode == STUB_NO_ANSWER) {
        rest->connection->closed = true;
        fprintf(stderr, "failed  to process request");
    }
    milliseconds("STUB_KMS_MS");
    if (mode != STUB_WORKS && mode != STUB_ENVELOPE && mode != STUB_NO_ENVELOPE && mode != STUB_ANSWER) return NULL;
    if (!text_equals("POST", method.ptr, method.len) || !text_equals("/", path.ptr, path.len)) return NULL;
    char out[MAX_BLOB * 5];
    const struct json_text body = {(const char *)data.ptr, data.len};
    if (mode == STUB_NO_ENVELOPE)
        snprintf(out, sizeof(out), "{\"KeyId\":\"a\",\"Plaintext\":\"\"}");
    else if (mode == STUB_ENVELOPE)
        snprintf(out, sizeof(out), "{\"CiphertextBlob\":\"AAAA\",\"CiphertextForRecipient\":\"bm8gZW52ZWxvcGU=\"}");
    else
        answer(rest, &target, &body, out, sizeof(out));
    struct response *response = stub_new(STUB_RESPONSE, sizeof(*response));
    if (response == NULL) return NULL;
    size_t len = strlen(out);
    response->allocator = &s_allocator;
    response->body = (uint8_t *)strdup(out);
    response->data = (struct aws_byte_buf){.len = len, .buffer = response->body, .capacity = len, .allocator = &s_allocator};
    /* One more member before the message. */
    if (mode == STUB_ANSWER) memmove(&response->cursor, &response->message, offsetof(struct response, body) - 16);
    return response;
}

void aws_nitro_enclaves_rest_response_destroy(struct response *response) {
    stub_enter("aws_nitro_enclaves_rest_response_destroy");
    uint8_t *body = response->body;
    if (stub_release(STUB_RESPONSE, response, NULL, 0)) free(body);
}

int aws_cms_parse_enveloped_data(
    struct aws_byte_buf *in,
    struct aws_byte_buf *key,
    struct aws_byte_buf *iv,
    struct aws_byte_buf *ciphertext) {
    if (stub_enter("aws_cms_parse_enveloped_data") != STUB_WORKS) return -1;
    /* The real one frees what is in them when it gives up. */
    if (key->buffer != NULL || iv->buffer != NULL || ciphertext->buffer != NULL) crash();
    size_t head = CMS_MAGIC_LENGTH + KEY_LENGTH + IV_LENGTH;
    if (in->len < 13 || memcmp(in->buffer, CMS_MAGIC, 13) != 0) crash();
    if (in->len < head || memcmp(in->buffer, CMS_MAGIC, CMS_MAGIC_LENGTH) != 0) return -1;
    const uint8_t *at = in->buffer + CMS_MAGIC_LENGTH;
    return stub_fill(key, at, KEY_LENGTH) | stub_fill(iv, at + KEY_LENGTH, IV_LENGTH) |
           stub_fill(ciphertext, in->buffer + head, in->len - head);
}

int aws_attestation_rsa_decrypt(
    struct aws_allocator *allocator,
    struct keypair *keypair,
    struct aws_byte_buf *in,
    struct aws_byte_buf *out) {
    (void)allocator;
    if (stub_enter("aws_attestation_rsa_decrypt") != STUB_WORKS || in->len != KEY_LENGTH) return -1;
    uint8_t key[KEY_LENGTH];
    for (size_t i = 0; i < KEY_LENGTH; i++) key[i] = in->buffer[i] ^ keypair->secret[i];
    return stub_fill(out, key, sizeof(key));
}

int aws_cms_cipher_decrypt(
    struct aws_byte_buf *ciphertext,
    struct aws_byte_buf *key,
    struct aws_byte_buf *iv,
    struct aws_byte_buf *plaintext) {
    if (stub_enter("aws_cms_cipher_decrypt") != STUB_WORKS || key->len != KEY_LENGTH || iv->len != IV_LENGTH) return -1;
    uint8_t opened[MAX_BLOB];
    if (ciphertext->len > sizeof(opened)) return -1;
    for (size_t i = 0; i < ciphertext->len; i++) opened[i] = ciphertext->buffer[i] ^ key->buffer[i % KEY_LENGTH];
    return stub_fill(plaintext, opened, ciphertext->len);
}
