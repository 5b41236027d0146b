/* Prints sizes, offsets and constants as this machine's C compiler has them: what the layouts in ffi/layout.ts are compared with. */
#include "stub.h"

#include <stdio.h>

struct endpoint_u16 {
    char address[108];
    uint16_t port;
};
struct endpoint_u32 {
    char address[108];
    uint32_t port;
};
struct kms_client {
    void *allocator, *rest_client, *keypair;
};
struct rest_response {
    void *allocator, *message;
    struct aws_byte_cursor cursor;
    struct aws_byte_buf data;
};
/* Enumerations as the headers declare them, in their order. */
enum socket_domain { SOCKET_IPV4, SOCKET_IPV6, SOCKET_LOCAL, SOCKET_VSOCK };
enum key_spec { KEY_SPEC_UNINITIALIZED = -1, KEY_SPEC_AES_256, KEY_SPEC_AES_128 };

#define AT(type, field) offsetof(struct type, field)

int main(void) {
    printf("{\"aws_byte_buf\":{\"size\":%zu,\"len\":%zu,\"buffer\":%zu,\"capacity\":%zu,\"allocator\":%zu},", sizeof(struct aws_byte_buf),
           AT(aws_byte_buf, len), AT(aws_byte_buf, buffer), AT(aws_byte_buf, capacity), AT(aws_byte_buf, allocator));
    printf("\"aws_byte_cursor\":{\"size\":%zu,\"len\":%zu,\"ptr\":%zu},", sizeof(struct aws_byte_cursor), AT(aws_byte_cursor, len),
           AT(aws_byte_cursor, ptr));
    printf("\"endpoint_u16\":{\"size\":%zu,\"address\":%zu,\"port\":%zu},", sizeof(struct endpoint_u16), AT(endpoint_u16, address),
           AT(endpoint_u16, port));
    printf("\"endpoint_u32\":{\"size\":%zu,\"address\":%zu,\"port\":%zu},", sizeof(struct endpoint_u32), AT(endpoint_u32, address),
           AT(endpoint_u32, port));
    printf("\"kms_client\":{\"size\":%zu,\"allocator\":%zu,\"rest_client\":%zu,\"keypair\":%zu},", sizeof(struct kms_client),
           AT(kms_client, allocator), AT(kms_client, rest_client), AT(kms_client, keypair));
    printf("\"rest_response\":{\"size\":%zu,\"allocator\":%zu,\"message\":%zu,\"cursor\":%zu,\"data\":%zu},", sizeof(struct rest_response),
           AT(rest_response, allocator), AT(rest_response, message), AT(rest_response, cursor), AT(rest_response, data));
    printf("\"rest_client\":{\"size\":%zu,\"allocator\":%zu,\"tlsContext\":%zu,\"mutexInitialized\":%zu,\"conditionInitialized\":%zu,",
           sizeof(struct rest_client_head), AT(rest_client_head, allocator), AT(rest_client_head, tls_ctx),
           AT(rest_client_head, mutex.initialized), AT(rest_client_head, c_var.initialized));
    printf("\"connection\":%zu,\"service\":%zu,\"region\":%zu},", AT(rest_client_head, connection), AT(rest_client_head, service),
           AT(rest_client_head, region));
    printf("\"rsa_keypair\":{\"size\":%zu,\"allocator\":%zu,\"keyImpl\":%zu},", sizeof(struct rsa_keypair_head),
           AT(rsa_keypair_head, allocator), AT(rsa_keypair_head, key_impl));
    printf("\"aws_string\":{\"headSize\":%zu,\"allocator\":%zu,\"len\":%zu,\"bytes\":%zu},", offsetof(struct aws_string, bytes),
           AT(aws_string, allocator), AT(aws_string, len), AT(aws_string, bytes));
    printf("\"constants\":{\"socket_vsock\":%d,\"aes_256\":%d,\"aes_128\":%d}}\n", SOCKET_VSOCK, KEY_SPEC_AES_256, KEY_SPEC_AES_128);
    return 0;
}
