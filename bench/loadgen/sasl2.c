#include "sasl2.h"

#include <openssl/crypto.h>
#include <openssl/hmac.h>
#include <stdio.h>
#include <string.h>

#define NS_FAST "urn:xmpp:fast:0"
#define TOKEN_MECHANISM "HT-SHA-256-NONE"

enum { PROOF_SIZE = 32 };

bool sasl2_has_token(const struct session *s)
{
    return s->run->options.way == WAY_FAST && s->token[0];
}

const char *sasl2_missing(const struct session *s, struct slice features)
{
    char offered[64];
    snprintf(offered, sizeof offered, ">%s<", session_mechanism(s));
    if (!slice_contains(features, NS_SASL2) || !slice_contains(features, offered))
        return "SASL2 not offered";
    if (!slice_contains(features, "urn:xmpp:bind:0") || !slice_contains(features, NS_SM)
        || !slice_contains(features, "urn:xmpp:carbons:2"))
        return "Bind 2 not offered with what it is to turn on";
    if (s->run->options.way == WAY_FAST && !slice_contains(features, ">" TOKEN_MECHANISM "<"))
        return "tokens not offered";
    return NULL;
}

/* HMAC(token, role): the proof of one side, without channel binding (draft-schmaus-kitten-sasl-ht-09 §3). */
static void prove(const struct session *s, const char *role, unsigned char *proof)
{
    HMAC(EVP_sha256(), s->token, (int)strlen(s->token), (const unsigned char *)role, strlen(role), proof, NULL);
}

static void first_message(struct session *s, char *reply, size_t size)
{
    const struct options *o = &s->run->options;
    char user[64];
    size_t length = (size_t)snprintf(user, sizeof user, "%s%u", o->prefix, s->user);
    if (!sasl2_has_token(s)) {
        scram_first(&s->scram, session_hash(s), user, reply, size);
        return;
    }
    unsigned char message[sizeof user + 1 + PROOF_SIZE];
    memcpy(message, user, length + 1);
    prove(s, "Initiator", message + length + 1);
    base64_encode(reply, size, message, length + 1 + PROOF_SIZE);
}

void sasl2_authenticate(struct session *s)
{
    bool by_token = sasl2_has_token(s), wants_token = s->run->options.way == WAY_FAST && !by_token;
    char reply[SCRAM_TEXT_MAX * 2];
    first_message(s, reply, sizeof reply);
    conn_printf(&s->conn,
                "<authenticate xmlns='" NS_SASL2 "' mechanism='%s'><initial-response>%s</initial-response>"
                "<user-agent id='00000000-0000-4000-8000-%012u'><software>loadgen</software>"
                "<device>bench</device></user-agent>%s%s",
                by_token ? TOKEN_MECHANISM : session_mechanism(s), reply, s->user,
                by_token ? "<fast xmlns='" NS_FAST "'/>" : "",
                wants_token ? "<request-token xmlns='" NS_FAST "' mechanism='" TOKEN_MECHANISM "'/>" : "");
    if (s->goal == GOAL_RESUME)
        conn_printf(&s->conn, "<resume xmlns='" NS_SM "' h='%u' previd='%s'/>", s->sm.handled, s->sm.id);
    else
        s->sm.requested = true;
    /* Beside <resume/> it is what happens where there is nothing to resume. */
    conn_printf(&s->conn, "<bind xmlns='urn:xmpp:bind:0'><tag>bench</tag><enable xmlns='urn:xmpp:carbons:2'/>"
                          "<enable xmlns='" NS_SM "' resume='true'/></bind></authenticate>");
}

static const char *check_proof(struct session *s, struct slice success)
{
    const char *error;
    struct slice data = xml_text(success, "additional-data");
    unsigned char expected[PROOF_SIZE], proof[PROOF_SIZE * 2];
    if (!sasl2_has_token(s))
        return scram_verify(&s->scram, data, &error) ? NULL : error;
    prove(s, "Responder", expected);
    if (base64_decode(proof, sizeof proof, data) != PROOF_SIZE || CRYPTO_memcmp(proof, expected, PROOF_SIZE) != 0)
        return "the server does not prove that it knows the token";
    return NULL;
}

/* The full JID: that of the session which goes on, or one of the account's. */
static const char *take_address(struct session *s, struct slice success)
{
    struct slice jid = xml_text(success, "authorization-identifier");
    if (s->goal == GOAL_RESUME)
        return slice_is(jid, s->jid) ? NULL : "success for another session";
    if (!slice_starts(jid, s->jid, s->bare_length) || jid.len < s->bare_length + 2 || jid.len >= sizeof s->jid
        || jid.ptr[s->bare_length] != '/')
        return "success for another address";
    memcpy(s->jid, jid.ptr, jid.len);
    s->jid[jid.len] = 0;
    return NULL;
}

static const char *take_session(struct session *s, struct slice success)
{
    struct slice bound = xml_find(success, "bound"), resumed = xml_find(success, "resumed");
    if (s->goal == GOAL_RESUME)
        return !resumed.ptr || bound.ptr ? "not resumed" : sm_resume(&s->sm, resumed);
    struct slice enabled = bound.ptr ? xml_find(bound, "enabled") : bound;
    if (!enabled.ptr)
        return bound.ptr ? "success without stream management" : "success without a resource";
    return sm_enable(&s->sm, enabled);
}

/* A token that was asked for, or one instead of that which was used. */
static const char *take_token(struct session *s, struct slice success)
{
    struct slice found = xml_find(success, "token");
    if (!found.ptr)
        return s->run->options.way == WAY_FAST && !s->token[0] ? "no token was given" : NULL;
    struct slice token = xml_attribute(found, "token");
    if (s->run->options.way != WAY_FAST || !token.ptr || token.len == 0 || token.len >= sizeof s->token
        || !xml_attribute(found, "expiry").ptr)
        return "a token of no use";
    memcpy(s->token, token.ptr, token.len);
    s->token[token.len] = 0;
    return NULL;
}

const char *sasl2_take_success(struct session *s, struct slice success)
{
    const char *error = check_proof(s, success);
    if (!error)
        error = take_address(s, success);
    if (!error)
        error = take_session(s, success);
    return error ? error : take_token(s, success);
}
