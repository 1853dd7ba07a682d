#include "bound.h"

#include <stdio.h>

void bound_start(struct session *s)
{
    s->phase = PHASE_START;
    s->awaited |= AWAIT_ROSTER;
    session_send(s, "<iq type='get' id='roster'><query xmlns='jabber:iq:roster'/></iq>");
    if (s->goal != GOAL_QUIET) {
        s->awaited |= AWAIT_PRESENCE;
        s->announced = now_ns();
        session_send(s, "<presence/>");
    }
}

/* Somebody asks what this client can do (XEP-0115 §6.2). */
static void tell_capabilities(struct session *s, struct slice from, struct slice id)
{
    session_send(s,
                 "<iq type='result' to='%.*s' id='%.*s'>"
                 "<query xmlns='http://jabber.org/protocol/disco#info' node='" CLIENT "#" CAPABILITIES "'>"
                 "<identity category='client' type='pc' name='bench'/>"
                 "<feature var='http://jabber.org/protocol/disco#info'/><feature var='" NODE "+notify'/></query></iq>",
                 (int)from.len, from.ptr ? from.ptr : "", (int)id.len, id.ptr ? id.ptr : "");
}

/* A client has to answer every request: a roster push and a ping with a result, others with an error. */
static void answer(struct session *s, struct slice e)
{
    struct slice id = xml_attribute(e, "id"), from = xml_attribute(e, "from");
    if (s->run->options.publish && slice_contains(e, CLIENT "#" CAPABILITIES)) {
        tell_capabilities(s, from, id);
        return;
    }
    bool known = slice_contains(e, "jabber:iq:roster") || slice_contains(e, "urn:xmpp:ping");
    char to[3200] = "";
    if (from.ptr)
        snprintf(to, sizeof to, " to='%.*s'", (int)from.len, from.ptr);
    session_send(s, "<iq id='%.*s'%s%s", (int)id.len, id.ptr ? id.ptr : "", to,
                 known ? " type='result'/>"
                      : " type='error'><error type='cancel'><service-unavailable "
                        "xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>");
}

static void became_ready_after(struct session *s, unsigned answered)
{
    s->awaited &= ~answered;
    if (s->awaited == 0)
        session_is_ready(s);
}

/* Stream management's own elements; true if it was one. */
static bool on_nonza(struct session *s, struct slice e)
{
    const char *error = NULL;
    if (xml_is(e, "r")) {
        conn_printf(&s->conn, "<a xmlns='" NS_SM "' h='%u'/>", s->sm.handled);
    } else if (xml_is(e, "a")) {
        s->run->acks++;
        error = sm_acknowledge(&s->sm, e);
    } else if (xml_is(e, "enabled")) {
        error = sm_enable(&s->sm, e);
    } else if (xml_is(e, "failed")) {
        error = "stream management refused";
    } else {
        return false;
    }
    if (error)
        session_fail(s, error, e);
    else if (s->phase == PHASE_START && xml_is(e, "enabled"))
        became_ready_after(s, AWAIT_SM);
    return true;
}

static unsigned start_answered(struct session *s, struct slice e)
{
    if (xml_is(e, "presence"))
        return slice_is(xml_attribute(e, "from"), s->jid) && !xml_attribute(e, "type").ptr ? AWAIT_PRESENCE
                                                                                           : 0;
    struct slice id = xml_attribute(e, "id");
    if (slice_is(id, "carbons"))
        return AWAIT_CARBONS; /* a server without carbons says so, and that is an answer */
    if (slice_is(id, "roster") && slice_is(xml_attribute(e, "type"), "result"))
        return AWAIT_ROSTER;
    return 0;
}

void bound_received(struct session *s, struct slice e)
{
    if (s->sm.requested && on_nonza(s, e))
        return;
    s->sm.handled += s->sm.enabled && sm_counts(e);
    if (xml_is(e, "iq")) {
        struct slice type = xml_attribute(e, "type");
        if (slice_is(type, "get") || slice_is(type, "set"))
            answer(s, e);
    }
    if (s->handler->stanza)
        s->handler->stanza(s, e);
    if (s->phase == PHASE_START && s->conn.state == CONN_OPEN)
        became_ready_after(s, start_answered(s, e));
}
