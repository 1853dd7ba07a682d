/* The client's side of SCRAM (RFC 5802, RFC 7677), without channel binding. */
#ifndef LOADGEN_SCRAM_H
#define LOADGEN_SCRAM_H

#include <openssl/evp.h>
#include <stdbool.h>

#include "xml.h"

enum { SCRAM_KEY_MAX = 32, SCRAM_TEXT_MAX = 512 };

/* What a real client keeps of an account, so that only its first login pays for PBKDF2. */
struct scram_keys {
    const EVP_MD *hash;
    unsigned char salt[64];
    size_t salt_length;
    int iterations;
    unsigned char client_key[SCRAM_KEY_MAX], server_key[SCRAM_KEY_MAX];
};

struct scram {
    const EVP_MD *hash;
    char first_bare[SCRAM_TEXT_MAX]; /* client-first-message-bare */
    char nonce[40];
    unsigned char server_signature[SCRAM_KEY_MAX];
};

/* Base64, for SASL PLAIN too.  Both return the length written, or -1 for bad or too long input. */
int base64_encode(char *to, size_t size, const void *from, size_t length);
int base64_decode(unsigned char *to, size_t size, struct slice from);

/* Fill `reply` with the base64 text of the next message.  False with `*error` set: the exchange is over. */
bool scram_first(struct scram *s, const EVP_MD *hash, const char *user, char *reply, size_t size);
bool scram_final(struct scram *s, struct scram_keys *keys, struct slice challenge, const char *password,
                 char *reply, size_t size, const char **error);
/* Checks the server's signature: only who knows the account's keys can make it. */
bool scram_verify(const struct scram *s, struct slice success, const char **error);

#endif
