#include "scram.h"

#include <openssl/crypto.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int base64_encode(char *to, size_t size, const void *from, size_t length)
{
    if (size < (length + 2) / 3 * 4 + 1)
        return -1;
    return EVP_EncodeBlock((unsigned char *)to, from, (int)length);
}

int base64_decode(unsigned char *to, size_t size, struct slice from)
{
    if (!from.ptr || from.len == 0 || from.len % 4 || from.len / 4 * 3 > size)
        return -1;
    int length = EVP_DecodeBlock(to, (const unsigned char *)from.ptr, (int)from.len);
    if (length < 0)
        return -1;
    /* EVP_DecodeBlock counts the padding as bytes. */
    return length - (from.ptr[from.len - 1] == '=') - (from.ptr[from.len - 2] == '=');
}

bool scram_first(struct scram *s, const EVP_MD *hash, const char *user, char *reply, size_t size)
{
    unsigned char random[24];
    char message[SCRAM_TEXT_MAX + 4];
    if (RAND_bytes(random, sizeof random) != 1)
        return false;
    s->hash = hash;
    base64_encode(s->nonce, sizeof s->nonce, random, sizeof random);
    snprintf(s->first_bare, sizeof s->first_bare, "n=%s,r=%s", user, s->nonce);
    int length = snprintf(message, sizeof message, "n,,%s", s->first_bare);
    return base64_encode(reply, size, message, (size_t)length) > 0;
}

/* The value of the attribute `key` ("r=", "s=", "i=") of a comma-separated SCRAM message. */
static struct slice field(const char *message, char key)
{
    for (const char *p = message; p; p = strchr(p, ',')) {
        p += *p == ',';
        if (p[0] == key && p[1] == '=')
            return (struct slice){p + 2, strcspn(p + 2, ",")};
    }
    return (struct slice){NULL, 0};
}

static bool derive(struct scram_keys *keys, const EVP_MD *hash, const unsigned char *salt, size_t salt_length,
                   int iterations, const char *password)
{
    bool known = keys->hash == hash && keys->iterations == iterations && keys->salt_length == salt_length
                 && memcmp(keys->salt, salt, salt_length) == 0;
    if (known)
        return true;
    unsigned char salted[SCRAM_KEY_MAX];
    int size = EVP_MD_get_size(hash);
    if (salt_length > sizeof keys->salt
        || PKCS5_PBKDF2_HMAC(password, (int)strlen(password), salt, (int)salt_length, iterations, hash, size,
                             salted) != 1)
        return false;
    HMAC(hash, salted, size, (const unsigned char *)"Client Key", 10, keys->client_key, NULL);
    HMAC(hash, salted, size, (const unsigned char *)"Server Key", 10, keys->server_key, NULL);
    memcpy(keys->salt, salt, salt_length);
    keys->salt_length = salt_length;
    keys->iterations = iterations;
    keys->hash = hash;
    return true;
}

/* ClientProof = ClientKey XOR HMAC(H(ClientKey), AuthMessage); remembers the signature to expect. */
static void sign(struct scram *s, const struct scram_keys *keys, const char *auth_message,
                 unsigned char *proof)
{
    const unsigned char *text = (const unsigned char *)auth_message;
    size_t length = strlen(auth_message), size = (size_t)EVP_MD_get_size(s->hash);
    unsigned char stored_key[SCRAM_KEY_MAX];
    EVP_Digest(keys->client_key, size, stored_key, NULL, s->hash, NULL);
    HMAC(s->hash, stored_key, (int)size, text, length, proof, NULL);
    for (size_t i = 0; i < size; i++)
        proof[i] ^= keys->client_key[i];
    HMAC(s->hash, keys->server_key, (int)size, text, length, s->server_signature, NULL);
}

bool scram_final(struct scram *s, struct scram_keys *keys, struct slice challenge, const char *password,
                 char *reply, size_t size, const char **error)
{
    char first[SCRAM_TEXT_MAX];
    *error = "SCRAM: bad challenge";
    int length = base64_decode((unsigned char *)first, sizeof first - 1, challenge);
    if (length <= 0)
        return false;
    first[length] = 0;
    struct slice nonce = field(first, 'r'), salt = field(first, 's'), rounds = field(first, 'i');
    unsigned char raw_salt[64];
    int salt_length = base64_decode(raw_salt, sizeof raw_salt, salt);
    int iterations = rounds.ptr ? atoi(rounds.ptr) : 0;
    if (salt_length <= 0 || iterations <= 0)
        return false;
    size_t ours = strlen(s->nonce);
    if (!slice_starts(nonce, s->nonce, ours) || nonce.len == ours) {
        *error = "SCRAM: the server's nonce does not extend ours";
        return false;
    }
    if (!derive(keys, s->hash, raw_salt, (size_t)salt_length, iterations, password)) {
        *error = "SCRAM: no key could be derived";
        return false;
    }
    char bare[SCRAM_TEXT_MAX], auth_message[3 * SCRAM_TEXT_MAX], final[2 * SCRAM_TEXT_MAX];
    unsigned char proof[SCRAM_KEY_MAX];
    char proof_text[SCRAM_KEY_MAX * 2];
    snprintf(bare, sizeof bare, "c=biws,r=%.*s", (int)nonce.len, nonce.ptr);
    snprintf(auth_message, sizeof auth_message, "%s,%s,%s", s->first_bare, first, bare);
    sign(s, keys, auth_message, proof);
    base64_encode(proof_text, sizeof proof_text, proof, (size_t)EVP_MD_get_size(s->hash));
    length = snprintf(final, sizeof final, "%s,p=%s", bare, proof_text);
    return base64_encode(reply, size, final, (size_t)length) > 0;
}

bool scram_verify(const struct scram *s, struct slice success, const char **error)
{
    char message[SCRAM_TEXT_MAX];
    unsigned char signature[SCRAM_KEY_MAX * 2];
    *error = "SCRAM: success without the server's signature";
    int length = base64_decode((unsigned char *)message, sizeof message - 1, success);
    if (length <= 0)
        return false;
    message[length] = 0;
    int size = base64_decode(signature, sizeof signature, field(message, 'v'));
    if (size != EVP_MD_get_size(s->hash))
        return false;
    *error = "SCRAM: wrong server signature";
    return CRYPTO_memcmp(signature, s->server_signature, (size_t)size) == 0;
}
