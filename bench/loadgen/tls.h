/* OpenSSL behind four non-blocking calls. */
#ifndef LOADGEN_TLS_H
#define LOADGEN_TLS_H

#include <openssl/ssl.h>
#include <stdbool.h>
#include <sys/types.h>

/* What a read or write gives instead of a byte count. */
enum { IO_CLOSED = 0, IO_WANTS_READ = -1, IO_WANTS_WRITE = -2, IO_FAILED = -3 };

SSL_CTX *tls_context(void);
SSL *tls_client(SSL_CTX *context, int fd, const char *domain, bool direct);
/* 1 when the handshake is complete, or an IO_ value. */
int tls_handshake(SSL *ssl);
ssize_t tls_read(SSL *ssl, char *into, size_t size);
ssize_t tls_write(SSL *ssl, const char *bytes, size_t length);
void tls_close(SSL *ssl);
const char *tls_error(void);

#endif
