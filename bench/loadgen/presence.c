/* The scenarios of fan-out: one user, many contacts, all online, who are told of its presence, or of what it publishes
 * at a node of its account (XEP-0163). */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bound.h"
#include "crowd.h"

enum { MUTUAL_AT_HUB = 1, MUTUAL_AT_CONTACT = 2, MUTUAL = 3, SUBSCRIBING_MAX = 16 };

static struct {
    struct crowd crowd;
    struct session *hub; /* session 0; the contacts are sessions 1 .. contacts */
    unsigned contacts, mutual;
    unsigned char *state;
    uint64_t *seen; /* by contact: the last change it was told */
    uint64_t change, told_now, told, duplicates, reordered;
} fan;

static struct session *contact(unsigned i) { return &fan.crowd.sessions[i]; }

/* The number of the contact with that bare or full JID, 0 if it is none. */
static unsigned contact_number(struct slice jid)
{
    const struct options *o = &fan.crowd.run->options;
    size_t prefix = strlen(o->prefix);
    if (!slice_starts(jid, o->prefix, prefix) || jid.len <= prefix)
        return 0;
    unsigned long number = strtoul(jid.ptr + prefix, NULL, 10) - o->first;
    if (number == 0 || number > fan.contacts)
        return 0;
    struct session *s = contact((unsigned)number);
    return slice_starts(jid, s->jid, s->bare_length) ? (unsigned)number : 0;
}

static void mark_mutual(unsigned number, unsigned bit)
{
    if (number == 0 || (fan.state[number] & bit))
        return;
    fan.state[number] |= (unsigned char)bit;
    fan.mutual += fan.state[number] == MUTUAL;
}

/* Reads a roster or a roster push of the hub or of a contact. */
static void read_roster(struct session *s, struct slice e)
{
    struct slice item = e;
    while ((item = xml_find(item, "item")).ptr) {
        struct slice jid = xml_attribute(item, "jid");
        bool both = slice_is(xml_attribute(item, "subscription"), "both");
        if (both && s == fan.hub)
            mark_mutual(contact_number(jid), MUTUAL_AT_HUB);
        else if (both && slice_starts(jid, fan.hub->jid, fan.hub->bare_length))
            mark_mutual((unsigned)(s - fan.crowd.sessions), MUTUAL_AT_CONTACT);
        item.ptr++;
        item.len--;
    }
}

static void send_subscription(struct session *s, const char *type, const struct session *to)
{
    session_send(s, "<presence type='%s' to='%.*s'/>", type, (int)to->bare_length, to->jid);
}

/* Says yes to a request, and asks back when it is the hub that asked. */
static void on_subscribe(struct session *s, struct slice from)
{
    if (s == fan.hub) {
        unsigned number = contact_number(from);
        if (number)
            send_subscription(s, "subscribed", contact(number));
    } else if (slice_starts(from, fan.hub->jid, fan.hub->bare_length)) {
        send_subscription(s, "subscribed", fan.hub);
        send_subscription(s, "subscribe", fan.hub);
    }
}

/* A contact is told of a change: by "change-N", as a status or as a payload. */
static void on_change(struct session *s, struct slice told)
{
    if (s == fan.hub || !slice_starts(told, "change-", 7))
        return;
    uint64_t number = strtoull(told.ptr + 7, NULL, 10);
    uint64_t *seen = &fan.seen[s - fan.crowd.sessions];
    if (number == *seen) {
        fan.duplicates++; /* of a publication: work all the same, which counts */
    } else if (number < *seen || number != fan.change) {
        fan.reordered++;
    } else {
        *seen = number;
        fan.told++;
        fan.told_now++;
    }
}

static void on_iq(struct session *s, struct slice e)
{
    struct slice type = xml_attribute(e, "type");
    if (slice_contains(e, "jabber:iq:roster"))
        read_roster(s, e);
    else if (slice_is(type, "error") && s == fan.hub)
        run_error(s->run, "%s: not published: %.*s", s->jid, (int)e.len, e.ptr);
}

static void on_stanza(struct session *s, struct slice e)
{
    bool publishes = s->run->options.publish;
    if (xml_is(e, "message")) {
        if (publishes && slice_starts(xml_attribute(e, "from"), fan.hub->jid, fan.hub->bare_length))
            on_change(s, xml_text(e, "n"));
    } else if (xml_is(e, "presence")) {
        struct slice type = xml_attribute(e, "type");
        if (!type.ptr && !publishes && slice_is(xml_attribute(e, "from"), fan.hub->jid))
            on_change(s, xml_text(e, "status"));
        else if (slice_is(type, "subscribe"))
            on_subscribe(s, xml_attribute(e, "from"));
        else if (slice_is(type, "error"))
            run_error(s->run, "%s: presence error: %.*s", s->jid, (int)e.len, e.ptr);
    } else if (xml_is(e, "iq")) {
        on_iq(s, e);
    }
}

/* Makes the missing subscriptions as clients do, a few at a time. */
static bool befriend(struct run *run)
{
    uint64_t until = now_ns() + seconds_ns(run->options.timeout);
    unsigned asked = 0, next = 1, missing = fan.contacts - fan.mutual;
    if (missing)
        fprintf(stderr, "loadgen: subscribing %u contacts\n", missing);
    unsigned before = fan.mutual;
    while (fan.mutual < fan.contacts && now_ns() < until && run->errors == 0 && fan.crowd.over == 0) {
        while (next <= fan.contacts && asked < fan.mutual - before + SUBSCRIBING_MAX) {
            if (fan.state[next] != MUTUAL) {
                send_subscription(fan.hub, "subscribe", contact(next));
                asked++;
            }
            next++;
        }
        loop_turn(&run->loop, now_ns() + seconds_ns(0.1));
    }
    if (fan.mutual < fan.contacts)
        run_error(run, "only %u of %u contacts are mutual", fan.mutual, fan.contacts);
    return fan.mutual >= fan.contacts;
}

static void send_change(void)
{
    unsigned long long number = fan.change;
    if (fan.crowd.run->options.publish)
        session_send(fan.hub,
                     "<iq type='set' id='p%llu'><pubsub xmlns='http://jabber.org/protocol/pubsub'><publish node='" NODE "'>"
                     "<item id='current'><n xmlns='" NODE "'>change-%llu</n></item></publish></pubsub></iq>",
                     number, number);
    else
        session_send(fan.hub, "<presence><show>%s</show><status>change-%llu</status></presence>",
                     number % 2 ? "away" : "chat", number);
}

/* Contacts say what they ask for; true once something that is published reaches all of them. */
static bool subscribe_by_capabilities(struct run *run)
{
    uint64_t until = now_ns() + seconds_ns(run->options.timeout);
    for (unsigned i = 1; i <= fan.contacts; i++)
        session_send(contact(i), "<presence><c xmlns='http://jabber.org/protocol/caps' hash='sha-1' "
                                 "node='" CLIENT "' ver='" CAPABILITIES "'/></presence>");
    while (fan.told_now < fan.contacts && now_ns() < until && run->errors == 0 && fan.crowd.over == 0) {
        uint64_t next = now_ns() + seconds_ns(3); /* some are still being asked */
        fan.change++;
        fan.told_now = 0;
        send_change();
        while (fan.told_now < fan.contacts && now_ns() < next)
            loop_turn(&run->loop, next);
    }
    if (fan.told_now < fan.contacts)
        run_error(run, "what is published reaches only %llu of %u contacts", (unsigned long long)fan.told_now, fan.contacts);
    uint64_t quiet = now_ns() + seconds_ns(2);
    while (now_ns() < quiet)
        loop_turn(&run->loop, quiet);
    fan.duplicates = fan.reordered = 0; /* last items, and what came late */
    return fan.told_now >= fan.contacts;
}

/* One change; true when every contact was told. */
static bool change(struct run *run, struct histogram *latency)
{
    uint64_t start = now_ns(), until = start + seconds_ns(run->options.timeout);
    fan.change++;
    fan.told_now = 0;
    send_change();
    while (fan.told_now < fan.contacts && fan.crowd.over == 0 && now_ns() < until)
        loop_turn(&run->loop, until);
    if (fan.told_now < fan.contacts)
        run_error(run, "change %llu reached %llu of %u contacts", (unsigned long long)fan.change,
                  (unsigned long long)fan.told_now, fan.contacts);
    histogram_add(latency, now_ns() - start);
    return fan.told_now >= fan.contacts;
}

static void change_for(struct run *run, double seconds, struct histogram *latency)
{
    uint64_t until = now_ns() + seconds_ns(seconds);
    while (now_ns() < until && change(run, latency))
        ;
}

void scenario_presence(struct run *run)
{
    const struct options *o = &run->options;
    static struct histogram latency;
    bool with_server = o->server_pids[0] > 0;
    json_open("presence");
    json_count("contacts", o->contacts);
    fan.contacts = o->contacts;
    fan.state = need(o->contacts + 1, sizeof *fan.state);
    fan.seen = need(o->contacts + 1, sizeof *fan.seen);
    fan.crowd.stanza = on_stanza;
    struct usage from = usage_read(o->server_pids), to = from;
    uint64_t told = 0;
    crowd_init(&fan.crowd, run, o->contacts + 1);
    fan.hub = &fan.crowd.sessions[0];
    if (crowd_enter_until(&fan.crowd, o->contacts + 1, GOAL_LOGIN) && befriend(run) &&
        (!o->publish || subscribe_by_capabilities(run))) {
        change_for(run, o->warmup, &latency);
        histogram_clear(&latency);
        uint64_t before = fan.told, repeated = fan.duplicates;
        from = usage_read(o->server_pids);
        change_for(run, o->seconds, &latency);
        to = usage_read(o->server_pids);
        told = fan.told - before + (o->publish ? fan.duplicates - repeated : 0);
    }
    json_rate("deliveries", told, &from, &to, with_server);
    json_latency(&latency);
    json_count("duplicates", fan.duplicates);
    json_count("reordered", fan.reordered);
    if ((fan.duplicates && !o->publish) || fan.reordered)
        run_error(run, "%llu repeated, %llu misplaced changes", (unsigned long long)fan.duplicates,
                  (unsigned long long)fan.reordered);
    json_usage(&from, &to, with_server);
    crowd_leave(&fan.crowd);
    run_close(run);
}
