#include "conn.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tls.h"

enum { READ_SIZE = 16384, EVENTS = 256 };

void loop_init(struct loop *loop, bool coalesce)
{
    *loop = (struct loop){.epoll = epoll_create1(EPOLL_CLOEXEC), .tls = tls_context(), .coalesce = coalesce};
    if (loop->epoll < 0) {
        perror("loadgen: epoll_create1");
        exit(3);
    }
}

static void watch(struct conn *c, int operation, bool output)
{
    struct epoll_event event = {.events = EPOLLIN | (output ? EPOLLOUT : 0), .data.ptr = c};
    epoll_ctl(c->loop->epoll, operation, c->fd, &event);
    c->waits_to_write = output;
}

static void wait_to_write(struct conn *c, bool output)
{
    if (c->waits_to_write != output)
        watch(c, EPOLL_CTL_MOD, output);
}

void conn_open(struct conn *c, struct loop *loop, const struct conn_handler *handler,
               const struct sockaddr_in *to, const struct sockaddr_in *from, const char *domain,
               bool direct_tls)
{
    struct buffer in = c->in, out = c->out; /* memory of an earlier connection in this slot */
    bool is_dirty = c->is_dirty;
    struct conn *next_dirty = c->next_dirty;
    *c = (struct conn){.loop = loop, .handler = handler, .state = CONN_CONNECTING, .domain = domain,
                       .direct_tls = direct_tls, .in = in, .out = out, .is_dirty = is_dirty,
                       .next_dirty = next_dirty};
    buffer_clear(&c->in);
    buffer_clear(&c->out);
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (c->fd < 0) {
        c->state = CONN_CLOSED;
        handler->closed(c, strerror(errno));
        return;
    }
    int on = 1;
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (from) {
        /* Leaves the port to connect(), so that one source address carries its full range of ports. */
        setsockopt(c->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on);
        if (bind(c->fd, (const struct sockaddr *)from, sizeof *from) < 0) {
            conn_close(c, strerror(errno));
            return;
        }
    }
    if (connect(c->fd, (const struct sockaddr *)to, sizeof *to) < 0 && errno != EINPROGRESS) {
        conn_close(c, strerror(errno));
        return;
    }
    watch(c, EPOLL_CTL_ADD, true);
}

void conn_close(struct conn *c, const char *reason)
{
    if (c->state == CONN_CLOSED)
        return;
    c->state = CONN_CLOSED;
    char text[256] = ""; /* `reason` may be OpenSSL's, which the clean-up overwrites */
    if (reason)
        snprintf(text, sizeof text, "%s", reason);
    if (c->ssl)
        tls_close(c->ssl);
    c->ssl = NULL;
    close(c->fd); /* takes it out of epoll too */
    c->fd = -1;
    c->handler->closed(c, reason ? text : NULL);
}

static void flush(struct conn *c)
{
    while (c->state == CONN_OPEN && buffer_length(&c->out) > 0) {
        ssize_t n;
        if (c->ssl) {
            n = tls_write(c->ssl, buffer_front(&c->out), buffer_length(&c->out));
        } else {
            n = send(c->fd, buffer_front(&c->out), buffer_length(&c->out), MSG_NOSIGNAL);
            if (n < 0)
                n = errno == EAGAIN ? IO_WANTS_WRITE : IO_FAILED;
        }
        if (n == IO_WANTS_WRITE || n == IO_WANTS_READ) {
            wait_to_write(c, n == IO_WANTS_WRITE);
            return;
        }
        if (n < 0) {
            conn_close(c, c->ssl ? tls_error() : strerror(errno));
            return;
        }
        buffer_consume(&c->out, (size_t)n);
    }
    if (c->state == CONN_OPEN)
        wait_to_write(c, false);
}

static void sent(struct conn *c)
{
    if (!c->loop->coalesce) {
        flush(c);
    } else if (!c->is_dirty) {
        c->is_dirty = true;
        c->next_dirty = c->loop->dirty;
        c->loop->dirty = c;
    }
}

void conn_send(struct conn *c, const char *bytes, size_t length)
{
    buffer_append(&c->out, bytes, length);
    sent(c);
}

void conn_vprintf(struct conn *c, const char *format, va_list args)
{
    buffer_vprintf(&c->out, format, args);
    sent(c);
}

void conn_printf(struct conn *c, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    conn_vprintf(c, format, args);
    va_end(args);
}

void conn_restart_stream(struct conn *c)
{
    c->framer = (struct framer){0};
}

static void handshake(struct conn *c)
{
    int result = tls_handshake(c->ssl);
    if (result == 1) {
        c->state = CONN_OPEN;
        wait_to_write(c, false);
        c->handler->connected(c);
    } else if (result == IO_FAILED) {
        conn_close(c, tls_error());
    } else {
        wait_to_write(c, result == IO_WANTS_WRITE);
    }
}

void conn_start_tls(struct conn *c)
{
    flush(c);
    if (c->state != CONN_OPEN)
        return;
    c->ssl = tls_client(c->loop->tls, c->fd, c->domain, c->direct_tls);
    c->state = CONN_HANDSHAKE;
    conn_restart_stream(c);
    handshake(c);
}

static void deliver(struct conn *c)
{
    while (c->state == CONN_OPEN && buffer_length(&c->in) > 0) {
        struct slice unit;
        size_t used;
        enum frame kind = frame_next(&c->framer, buffer_front(&c->in), buffer_length(&c->in), &unit, &used);
        if (kind == FRAME_MORE) {
            buffer_consume(&c->in, used);
            return;
        }
        if (kind == FRAME_BAD) {
            conn_close(c, "the server sent what is no XMPP");
            return;
        }
        /* Bytes stay in place until the handler is done with the unit; a handler that closes and reopens
         * the slot does so only after this turn, so the buffer is still this connection's. */
        c->handler->received(c, kind, unit);
        buffer_consume(&c->in, used);
    }
}

static void readable(struct conn *c)
{
    while (c->state == CONN_OPEN) {
        char *place = buffer_reserve(&c->in, READ_SIZE);
        ssize_t n;
        bool more;
        if (c->ssl) {
            n = tls_read(c->ssl, place, READ_SIZE);
            more = SSL_has_pending(c->ssl); /* whatever is still in the socket wakes epoll again */
        } else {
            n = recv(c->fd, place, READ_SIZE, 0);
            if (n < 0)
                n = errno == EAGAIN ? IO_WANTS_READ : IO_FAILED;
            more = false;
        }
        if (n == IO_WANTS_READ || n == IO_WANTS_WRITE)
            return;
        if (n <= 0) {
            conn_close(c, n == IO_CLOSED ? "closed by the server" : c->ssl ? tls_error() : strerror(errno));
            return;
        }
        c->in.end += (size_t)n;
        deliver(c);
        if (!more)
            return;
    }
}

static void connected(struct conn *c)
{
    int error = 0;
    socklen_t size = sizeof error;
    getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &size);
    if (error) {
        conn_close(c, strerror(error));
        return;
    }
    c->state = CONN_OPEN;
    wait_to_write(c, false);
    if (c->direct_tls)
        conn_start_tls(c);
    else
        c->handler->connected(c);
}

static void write_all(struct loop *loop)
{
    while (loop->dirty) {
        struct conn *c = loop->dirty;
        loop->dirty = c->next_dirty;
        c->is_dirty = false;
        flush(c);
    }
}

void loop_turn(struct loop *loop, uint64_t until)
{
    write_all(loop); /* what was sent between two turns must not wait for the next event */
    struct epoll_event events[EVENTS];
    uint64_t now = now_ns();
    uint64_t left = until > now ? until - now : 0;
    struct timespec timeout = {(time_t)(left / 1000000000u), (long)(left % 1000000000u)};
    int n = epoll_pwait2(loop->epoll, events, EVENTS, &timeout, NULL);
    for (int i = 0; i < n; i++) {
        struct conn *c = events[i].data.ptr;
        if (c->state == CONN_CONNECTING) {
            connected(c);
        } else if (c->state == CONN_HANDSHAKE) {
            handshake(c);
        } else {
            if (c->state == CONN_OPEN && (events[i].events & EPOLLOUT))
                flush(c);
            if (c->state == CONN_OPEN && (events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR)))
                readable(c);
        }
    }
    write_all(loop);
}
