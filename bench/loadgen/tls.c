#include "tls.h"

#include <openssl/err.h>
#include <stdio.h>
#include <stdlib.h>

SSL_CTX *tls_context(void)
{
    SSL_CTX *context = SSL_CTX_new(TLS_client_method());
    if (!context) {
        fprintf(stderr, "loadgen: no TLS: %s\n", tls_error());
        exit(3);
    }
    SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION);
    /* Loopback only, and the certificate is the benchmark's own: nothing to check it against. */
    SSL_CTX_set_verify(context, SSL_VERIFY_NONE, NULL);
    /* Every connection is a full handshake: a resumed one would measure something else on each server. */
    SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER
                                  | SSL_MODE_RELEASE_BUFFERS);
    /* One system call for several records instead of two for each. */
    SSL_CTX_set_read_ahead(context, 1);
    return context;
}

SSL *tls_client(SSL_CTX *context, int fd, const char *domain, bool direct)
{
    static const unsigned char alpn[] = "\x0bxmpp-client";
    SSL *ssl = SSL_new(context);
    if (!ssl || !SSL_set_fd(ssl, fd) || !SSL_set_tlsext_host_name(ssl, domain)) {
        fprintf(stderr, "loadgen: no TLS connection: %s\n", tls_error());
        exit(3);
    }
    if (direct)
        SSL_set_alpn_protos(ssl, alpn, sizeof alpn - 1);
    SSL_set_connect_state(ssl);
    return ssl;
}

static int outcome(SSL *ssl, int result)
{
    switch (SSL_get_error(ssl, result)) {
    case SSL_ERROR_WANT_READ: return IO_WANTS_READ;
    case SSL_ERROR_WANT_WRITE: return IO_WANTS_WRITE;
    case SSL_ERROR_ZERO_RETURN: return IO_CLOSED;
    case SSL_ERROR_SSL:
        /* A server that closes the socket without TLS's close_notify has still closed it. */
        if (ERR_GET_REASON(ERR_peek_error()) == SSL_R_UNEXPECTED_EOF_WHILE_READING)
            return IO_CLOSED;
        return IO_FAILED;
    default: return IO_FAILED;
    }
}

int tls_handshake(SSL *ssl)
{
    ERR_clear_error();
    int result = SSL_do_handshake(ssl);
    if (result == 1)
        return 1;
    int io = outcome(ssl, result);
    return io == IO_CLOSED ? IO_FAILED : io;
}

ssize_t tls_read(SSL *ssl, char *into, size_t size)
{
    ERR_clear_error();
    int result = SSL_read(ssl, into, (int)size);
    return result > 0 ? result : outcome(ssl, result);
}

ssize_t tls_write(SSL *ssl, const char *bytes, size_t length)
{
    ERR_clear_error();
    int result = SSL_write(ssl, bytes, (int)length);
    if (result > 0)
        return result;
    int io = outcome(ssl, result);
    return io == IO_CLOSED ? IO_FAILED : io;
}

void tls_close(SSL *ssl)
{
    ERR_clear_error();
    if (SSL_is_init_finished(ssl))
        SSL_shutdown(ssl); /* best effort: one close_notify, no waiting for the answer */
    SSL_free(ssl);
    ERR_clear_error();
}

const char *tls_error(void)
{
    static char text[256];
    unsigned long code = ERR_peek_last_error();
    if (code == 0)
        return "connection lost";
    ERR_error_string_n(code, text, sizeof text);
    return text;
}
