/* The event loop and its connections: TCP or TLS, bytes in and out, cut into XML elements. */
#ifndef LOADGEN_CONN_H
#define LOADGEN_CONN_H

#include <netinet/in.h>
#include <openssl/ssl.h>
#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#include "buffer.h"
#include "xml.h"

static inline uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static inline uint64_t seconds_ns(double seconds) { return (uint64_t)(seconds * 1e9); }

struct conn;

struct conn_handler {
    void (*connected)(struct conn *); /* the transport is up: after TCP, and again after each TLS handshake */
    void (*received)(struct conn *, enum frame kind, struct slice unit);
    void (*closed)(struct conn *, const char *reason); /* reason is NULL when the peer closed in order */
};

struct loop {
    int epoll;
    SSL_CTX *tls;
    bool coalesce;      /* write once per loop turn instead of once per stanza */
    struct conn *dirty; /* connections with output of this turn */
};

struct conn {
    struct loop *loop;
    const struct conn_handler *handler;
    enum { CONN_CLOSED, CONN_CONNECTING, CONN_HANDSHAKE, CONN_OPEN } state;
    int fd;
    SSL *ssl; /* NULL while plain */
    const char *domain;
    bool direct_tls, is_dirty, waits_to_write;
    struct conn *next_dirty;
    struct buffer in, out;
    struct framer framer;
};

void loop_init(struct loop *loop, bool coalesce);
/* Waits for events until `until` at the longest, handles them, and writes what they caused. */
void loop_turn(struct loop *loop, uint64_t until);

void conn_open(struct conn *c, struct loop *loop, const struct conn_handler *handler,
               const struct sockaddr_in *to, const struct sockaddr_in *from, const char *domain,
               bool direct_tls);
void conn_start_tls(struct conn *c);
/* The next thing from the peer is a new stream header. */
void conn_restart_stream(struct conn *c);
void conn_send(struct conn *c, const char *bytes, size_t length);
void conn_vprintf(struct conn *c, const char *format, va_list args) __attribute__((format(printf, 2, 0)));
void conn_printf(struct conn *c, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Closes and calls the handler's `closed`. */
void conn_close(struct conn *c, const char *reason);

#endif
