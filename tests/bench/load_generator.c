/*
 * Loads a service and measures it: each connection sends the same request, reads the reply, and again, for a number of seconds. In C, on one
 * thread with poll, so that the client costs little of the two cores that it shares with the service.
 *
 * usage: load_generator <port> <connections> <milliseconds> <request file>   (requests and replies carry a u32 big-endian length)
 * prints: {"requests":n,"seconds":s,"p50_us":t,"p99_us":t,"errors":n}
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define MAX_CONNECTIONS 1024
#define MAX_SAMPLES (4 * 1024 * 1024)
/* How a good reply of the session service begins, and of the wallet. */
#define SESSION_OK "{\"status\":\"ok"
#define WALLET_OK "{\"apiResponse\":\"sign"

struct connection {
    size_t sent, received, expected; /* bytes of the request, of the reply, and of the reply in all (0: not known yet) */
    uint8_t head[4 + sizeof(WALLET_OK) - 1]; /* the longer one */
    double started;
};

static uint8_t *s_request;
static size_t s_request_len;
static float *s_samples;
static size_t s_requests, s_errors;

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static void fail(const char *what) {
    perror(what);
    exit(1);
}

static int compare(const void *a, const void *b) {
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

static void read_request(const char *path) {
    FILE *file = fopen(path, "rb");
    if (file == NULL || fseek(file, 0, SEEK_END) != 0) fail(path);
    s_request_len = (size_t)ftell(file);
    rewind(file);
    s_request = malloc(s_request_len);
    if (s_request == NULL || fread(s_request, 1, s_request_len, file) != s_request_len) fail(path);
    fclose(file);
}

static int open_connection(int port) {
    int fd = socket(AF_INET, SOCK_STREAM, 0), one = 1;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr = {htonl(INADDR_LOOPBACK)}};
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof(address)) != 0) fail("connect");
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    fcntl(fd, F_SETFL, O_NONBLOCK);
    return fd;
}

static void send_more(int fd, struct connection *connection) {
    while (connection->sent < s_request_len) {
        ssize_t sent = write(fd, s_request + connection->sent, s_request_len - connection->sent);
        if (sent < 0 && errno == EAGAIN) return;
        if (sent <= 0) fail("write");
        connection->sent += (size_t)sent;
    }
}

/* Whether a whole reply has arrived. */
static bool receive_more(int fd, struct connection *connection) {
    static uint8_t buffer[1 << 18];
    for (;;) {
        ssize_t got = read(fd, buffer, sizeof(buffer));
        if (got < 0 && errno == EAGAIN) return false;
        if (got <= 0) fail("the service closed a connection");
        for (ssize_t i = 0; i < got && connection->received + (size_t)i < sizeof(connection->head); i++) {
            connection->head[connection->received + (size_t)i] = buffer[i];
        }
        connection->received += (size_t)got;
        if (connection->expected == 0 && connection->received >= 4) {
            const uint8_t *head = connection->head;
            connection->expected = 4 + ((size_t)head[0] << 24 | (size_t)head[1] << 16 | (size_t)head[2] << 8 | head[3]);
        }
        if (connection->expected != 0 && connection->received >= connection->expected) return true;
    }
}

static void begin(int fd, struct connection *connection) {
    *connection = (struct connection){.started = now()};
    send_more(fd, connection);
}

static int is_good(const uint8_t *reply) {
    return memcmp(reply, SESSION_OK, sizeof(SESSION_OK) - 1) == 0 || memcmp(reply, WALLET_OK, sizeof(WALLET_OK) - 1) == 0;
}

int main(int argc, char **argv) {
    if (argc != 5) return 2;
    int count = atoi(argv[2]);
    if (count < 1 || count > MAX_CONNECTIONS) return 2;
    read_request(argv[4]);
    s_samples = malloc(MAX_SAMPLES * sizeof(float));
    static struct pollfd polls[MAX_CONNECTIONS];
    static struct connection connections[MAX_CONNECTIONS];
    for (int i = 0; i < count; i++) polls[i].fd = open_connection(atoi(argv[1]));
    double start = now(), end = start + atof(argv[3]) / 1000;
    for (int i = 0; i < count; i++) begin(polls[i].fd, &connections[i]);
    while (now() < end) {
        for (int i = 0; i < count; i++) polls[i].events = connections[i].sent < s_request_len ? POLLIN | POLLOUT : POLLIN;
        if (poll(polls, (nfds_t)count, 100) < 0) fail("poll");
        for (int i = 0; i < count; i++) {
            struct connection *connection = &connections[i];
            if (polls[i].revents & POLLOUT) send_more(polls[i].fd, connection);
            if (!(polls[i].revents & (POLLIN | POLLERR | POLLHUP)) || !receive_more(polls[i].fd, connection)) continue;
            if (!is_good(connection->head + 4)) s_errors++;
            if (s_requests < MAX_SAMPLES) s_samples[s_requests] = (float)((now() - connection->started) * 1e6);
            s_requests++;
            begin(polls[i].fd, connection);
        }
    }
    double seconds = now() - start;
    size_t samples = s_requests < MAX_SAMPLES ? s_requests : MAX_SAMPLES;
    qsort(s_samples, samples, sizeof(float), compare);
    printf("{\"requests\":%zu,\"seconds\":%.4f,\"p50_us\":%.1f,\"p99_us\":%.1f,\"errors\":%zu}\n", s_requests, seconds,
           samples == 0 ? 0 : (double)s_samples[samples / 2], samples == 0 ? 0 : (double)s_samples[samples * 99 / 100], s_errors);
    return 0;
}
