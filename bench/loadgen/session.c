#include "session.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#include "bound.h"
#include "sasl2.h"

#define NS_SASL "urn:ietf:params:xml:ns:xmpp-sasl"

static const char *const mechanism_names[] = {"SCRAM-SHA-1", "SCRAM-SHA-256", "PLAIN"};

const char *session_mechanism(const struct session *s)
{
    return mechanism_names[s->run->options.mechanism];
}

const EVP_MD *session_hash(const struct session *s)
{
    return s->run->options.mechanism == MECHANISM_SHA1 ? EVP_sha1() : EVP_sha256();
}

void session_is_ready(struct session *s)
{
    s->phase = PHASE_READY;
    s->was_ready = true;
    s->handler->ready(s);
}

void session_fail(struct session *s, const char *what, struct slice detail)
{
    int length = (int)(detail.len < 160 ? detail.len : 160);
    run_error(s->run, "%.*s: %s: %.*s", (int)s->bare_length, s->jid, what, length,
              detail.ptr ? detail.ptr : "");
    s->phase = PHASE_CLOSING; /* counted: `over` must not count it again */
    conn_close(&s->conn, what);
}

static void open_stream(struct session *s)
{
    const struct options *o = &s->run->options;
    bool is_secure = s->conn.ssl || o->security == SECURITY_NONE;
    char from[320] = "";
    if (o->way != WAY_SASL && is_secure) /* who uses tokens says who it is; not in plain text (XEP-0484 §4.1) */
        snprintf(from, sizeof from, " from='%.*s'", (int)s->bare_length, s->jid);
    conn_restart_stream(&s->conn);
    s->phase = PHASE_FEATURES;
    conn_printf(&s->conn,
                "<?xml version='1.0'?><stream:stream to='%s'%s version='1.0' xml:lang='en' "
                "xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>",
                o->domain, from);
    if (is_secure && sasl2_has_token(s)) { /* it knows from the last time what is offered */
        s->phase = PHASE_TOKEN;
        sasl2_authenticate(s);
    }
}

static void register_account(struct session *s)
{
    const struct options *o = &s->run->options;
    s->phase = PHASE_REGISTER;
    conn_printf(&s->conn,
                "<iq type='set' id='reg' to='%s'><query xmlns='jabber:iq:register'><username>%s%u</username>"
                "<password>%s</password></query></iq>",
                o->domain, o->prefix, s->user, o->password);
}

static void authenticate(struct session *s, struct slice features)
{
    const struct options *o = &s->run->options;
    const char *mechanism = session_mechanism(s);
    char user[64], reply[SCRAM_TEXT_MAX * 2], offered[64];
    snprintf(offered, sizeof offered, ">%s<", mechanism);
    if (!slice_contains(features, offered)) {
        session_fail(s, "mechanism not offered", features);
        return;
    }
    int length = snprintf(user, sizeof user, "%s%u", o->prefix, s->user);
    if (o->mechanism == MECHANISM_PLAIN) {
        char message[256];
        length = snprintf(message, sizeof message, "%c%s%c%s", 0, user, 0, o->password);
        base64_encode(reply, sizeof reply, message, (size_t)length);
        s->phase = PHASE_SUCCESS;
    } else {
        scram_first(&s->scram, session_hash(s), user, reply, sizeof reply);
        s->phase = PHASE_CHALLENGE;
    }
    conn_printf(&s->conn, "<auth xmlns='" NS_SASL "' mechanism='%s'>%s</auth>", mechanism, reply);
}

static void authenticate_2(struct session *s, struct slice features)
{
    const char *missing = sasl2_missing(s, features);
    if (missing) {
        session_fail(s, missing, features);
        return;
    }
    s->phase = PHASE_CHALLENGE;
    sasl2_authenticate(s);
}

static void on_features(struct session *s, struct slice e)
{
    const struct options *o = &s->run->options;
    if (!xml_is(e, "stream:features")) {
        session_fail(s, "no stream features", e);
    } else if (o->security == SECURITY_STARTTLS && !s->conn.ssl) {
        if (!xml_find(e, "starttls").ptr) {
            session_fail(s, "no STARTTLS", e);
            return;
        }
        s->phase = PHASE_PROCEED;
        conn_printf(&s->conn, "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>");
    } else if (s->goal == GOAL_REGISTER) {
        register_account(s);
    } else if (!s->authenticated && o->way != WAY_SASL) {
        authenticate_2(s, e);
    } else if (!s->authenticated) {
        authenticate(s, e);
    } else if (s->goal == GOAL_RESUME) {
        s->phase = PHASE_RESUME;
        conn_printf(&s->conn, "<resume xmlns='" NS_SM "' h='%u' previd='%s'/>", s->sm.handled, s->sm.id);
    } else {
        s->phase = PHASE_BIND;
        conn_printf(&s->conn, "<iq type='set' id='bind'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'>"
                              "<resource>bench</resource></bind></iq>");
    }
}

static void on_proceed(struct session *s, struct slice e)
{
    if (xml_is(e, "proceed"))
        conn_start_tls(&s->conn);
    else
        session_fail(s, "STARTTLS refused", e);
}

static void on_challenge(struct session *s, struct slice e)
{
    const char *error = "no SCRAM challenge";
    char reply[SCRAM_TEXT_MAX * 2];
    struct scram_keys *keys = &s->run->keys[s->user - s->run->options.first];
    if (!xml_is(e, "challenge")
        || !scram_final(&s->scram, keys, xml_text(e, "challenge"), s->run->options.password, reply,
                        sizeof reply, &error)) {
        session_fail(s, error, e);
        return;
    }
    bool is_sasl2 = s->run->options.way != WAY_SASL;
    s->phase = is_sasl2 ? PHASE_SUCCESS_2 : PHASE_SUCCESS;
    conn_printf(&s->conn, "<response xmlns='%s'>%s</response>", is_sasl2 ? NS_SASL2 : NS_SASL, reply);
}

static void on_success(struct session *s, struct slice e)
{
    const char *error = "login refused";
    bool scram = s->run->options.mechanism != MECHANISM_PLAIN;
    if (!xml_is(e, "success") || (scram && !scram_verify(&s->scram, xml_text(e, "success"), &error))) {
        session_fail(s, error, e);
        return;
    }
    s->authenticated = true;
    open_stream(s);
}

static void on_bind(struct session *s, struct slice e)
{
    struct slice jid = xml_text(e, "jid");
    if (!slice_is(xml_attribute(e, "type"), "result") || !slice_starts(jid, s->jid, s->bare_length)
        || jid.len >= sizeof s->jid) {
        session_fail(s, "bind refused", e);
        return;
    }
    memcpy(s->jid, jid.ptr, jid.len);
    s->jid[jid.len] = 0;
    s->awaited = AWAIT_CARBONS;
    s->sm = (struct sm){.requested = s->run->options.sm};
    /* What a client says first; in one write, as clients that do not wait for each answer do. */
    if (s->sm.requested) {
        s->awaited |= AWAIT_SM;
        conn_printf(&s->conn, "<enable xmlns='" NS_SM "' resume='true'/>");
    }
    session_send(s, "<iq type='set' id='carbons'><enable xmlns='urn:xmpp:carbons:2'/></iq>");
    bound_start(s);
}

static void on_token_features(struct session *s, struct slice e)
{
    const char *missing = xml_is(e, "stream:features") ? sasl2_missing(s, e) : "no stream features";
    if (missing)
        session_fail(s, missing, e);
    else
        s->phase = PHASE_SUCCESS_2;
}

static void on_success_2(struct session *s, struct slice e)
{
    const char *error = xml_is(e, "success") ? sasl2_take_success(s, e) : "login refused";
    if (error) {
        session_fail(s, error, e);
        return;
    }
    s->authenticated = true;
    s->awaited = 0;
    if (s->goal == GOAL_RESUME)
        session_is_ready(s);
    else
        bound_start(s);
}

static void on_resume(struct session *s, struct slice e)
{
    const char *error = "not resumed";
    if (!xml_is(e, "resumed") || (error = sm_resume(&s->sm, e)))
        session_fail(s, error, e);
    else
        session_is_ready(s);
}

static void on_register(struct session *s, struct slice e)
{
    struct slice type = xml_attribute(e, "type");
    if (!slice_is(type, "result") && !(slice_is(type, "error") && xml_find(e, "conflict").ptr)) {
        session_fail(s, "registration refused", e);
        return;
    }
    session_is_ready(s);
}

static void ignore(struct session *s, struct slice e)
{
    (void)s, (void)e;
}

static void (*const by_phase[])(struct session *, struct slice) = {
    [PHASE_NONE] = ignore,          [PHASE_FEATURES] = on_features, [PHASE_PROCEED] = on_proceed,
    [PHASE_CHALLENGE] = on_challenge, [PHASE_SUCCESS] = on_success, [PHASE_BIND] = on_bind,
    [PHASE_REGISTER] = on_register, [PHASE_START] = bound_received,      [PHASE_READY] = bound_received,
    [PHASE_TOKEN] = on_token_features, [PHASE_SUCCESS_2] = on_success_2,
    [PHASE_RESUME] = on_resume,     [PHASE_CLOSING] = ignore,       [PHASE_CUT] = ignore,
};

static void connected(struct conn *conn)
{
    open_stream((struct session *)conn);
}

static void received(struct conn *conn, enum frame kind, struct slice unit)
{
    struct session *s = (struct session *)conn;
    if (kind == FRAME_HEADER)
        return;
    if (kind == FRAME_END)
        conn_close(conn, s->phase == PHASE_CLOSING ? NULL : "the server ended the stream");
    else if (xml_is(unit, "stream:error"))
        session_fail(s, "stream error", unit);
    else
        by_phase[s->phase](s, unit);
}

static void closed(struct conn *conn, const char *reason)
{
    struct session *s = (struct session *)conn;
    bool in_order = s->phase == PHASE_CLOSING && !reason, cut = s->phase == PHASE_CUT;
    if (s->phase != PHASE_CLOSING && s->phase != PHASE_NONE && !cut)
        run_error(s->run, "%.*s: connection lost: %s", (int)s->bare_length, s->jid,
                  reason ? reason : "closed");
    s->phase = PHASE_NONE;
    if (!cut)
        s->handler->over(s, in_order);
}

void session_open(struct session *s, struct run *run, unsigned user, enum goal goal, int source,
                  const struct session_handler *handler)
{
    static const struct conn_handler conn_handler = {connected, received, closed};
    const struct options *o = &run->options;
    s->run = run;
    s->handler = handler;
    s->user = user;
    s->goal = goal;
    s->phase = PHASE_FEATURES;
    s->authenticated = s->was_ready = false;
    s->started = now_ns();
    if (goal != GOAL_RESUME) {
        s->sm = (struct sm){0};
        s->bare_length = (size_t)snprintf(s->jid, sizeof s->jid, "%s%u@%s", o->prefix, user, o->domain);
    }
    struct sockaddr_in from = {.sin_family = AF_INET};
    from.sin_addr.s_addr = htonl(INADDR_LOOPBACK + (source > 0 ? (uint32_t)source : 0));
    conn_open(&s->conn, &run->loop, &conn_handler, &o->address, source < 0 ? NULL : &from, o->domain,
              o->security == SECURITY_DIRECT);
}

void session_send(struct session *s, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    conn_vprintf(&s->conn, format, args);
    va_end(args);
    if (!s->sm.requested)
        return;
    s->sm.sent++;
    if (++s->sm.unasked >= s->run->options.sm_every)
        session_ask(s);
}

void session_ask(struct session *s)
{
    s->sm.unasked = 0;
    conn_printf(&s->conn, "<r xmlns='" NS_SM "'/>");
}

void session_cut(struct session *s)
{
    s->phase = PHASE_CUT;
    conn_close(&s->conn, NULL);
}

void session_close(struct session *s)
{
    if (s->conn.state == CONN_CLOSED)
        return;
    if (s->conn.state != CONN_OPEN) {
        s->phase = PHASE_CLOSING;
        conn_close(&s->conn, NULL);
        return;
    }
    s->phase = PHASE_CLOSING;
    if (s->sm.enabled) /* or the server would take the last ones for lost, and send them elsewhere */
        conn_printf(&s->conn, "<a xmlns='" NS_SM "' h='%u'/>", s->sm.handled);
    conn_printf(&s->conn, "</stream:stream>");
}
