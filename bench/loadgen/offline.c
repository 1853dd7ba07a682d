/* The scenario of a user who was away: messages wait, then come at its presence or by a query. */
#include <stdio.h>
#include <string.h>

#include "chat.h"
#include "mam.h"

static struct {
    struct crowd crowd; /* the sender; the receiver comes and goes in the slot behind it */
    struct session *sender, *receiver;
    unsigned round, due, query;
    uint64_t lost, repeated, messages;
    bool receiver_ready, receiver_over, synced, told, finished;
    char last[MAM_ID_MAX]; /* id of the newest row of the archive that the receiver knows */
} away;

static const struct options *options(void) { return &away.crowd.run->options; }

static bool wait_for(const bool *what, const char *name)
{
    struct run *run = away.crowd.run;
    uint64_t until = now_ns() + seconds_ns(run->options.timeout);
    while (!*what && now_ns() < until && away.crowd.over == 0 && run->errors == 0)
        loop_turn(&run->loop, now_ns() + seconds_ns(0.1));
    if (!*what && run->errors == 0)
        run_error(run, "no %s within %.0f s", name, run->options.timeout);
    return *what;
}

/* Waits until the server has handled everything that `s` sent before. */
static bool synchronise(struct session *s)
{
    away.synced = false;
    session_send(s, "<iq type='get' id='sync' to='%s'><ping xmlns='urn:xmpp:ping'/></iq>", options()->domain);
    return wait_for(&away.synced, "answer to a ping");
}

static void on_message(struct session *s, struct slice e)
{
    unsigned round, k;
    char text[40] = "";
    struct slice id = xml_attribute(e, "id");
    if (id.ptr && id.len < sizeof text)
        memcpy(text, id.ptr, id.len);
    if (sscanf(text, "o%u-%u", &round, &k) != 2 || !slice_is(xml_attribute(e, "from"), away.sender->jid)
        || !slice_is(xml_text(e, "body"), chat_body)) {
        run_error(s->run, "%s: a message that is not its: %.60s", s->jid, text);
    } else if (round != away.round || k < away.due) {
        away.repeated++; /* or out of order, or of another round: not the one that is due */
    } else {
        away.lost += k - away.due;
        away.due = k + 1;
        away.messages++;
        away.told = away.due == options()->messages;
    }
}

static void catch_up(struct session *s)
{
    mam_ask(s, &(struct mam_query){.number = ++away.query, .after = away.last[0] ? away.last : NULL,
                                   .max = options()->page});
}

static void on_end(struct session *s, const struct mam_answer *end)
{
    if (!end->complete && end->last.ptr) {
        catch_up(s);
        return;
    }
    away.lost += options()->messages - away.due;
    away.finished = true;
}

static void on_received(struct session *s, struct slice e)
{
    struct mam_answer answer;
    enum mam_kind kind = mam_read(e, &answer);
    if (kind == MAM_ERROR || (kind != MAM_OTHER && answer.number != away.query)) {
        run_error(s->run, "%s: no answer to its query: %.*s", s->jid, (int)(e.len < 160 ? e.len : 160), e.ptr);
    } else if (kind == MAM_ROW) {
        on_message(s, answer.message);
        if (!mam_copy_id(away.last, answer.id))
            run_error(s->run, "%s: an archive id is too long", s->jid);
    } else if (kind == MAM_FIN) {
        on_end(s, &answer);
    } else if (xml_is(e, "message") && !options()->archived) {
        on_message(s, e);
    } else if (xml_is(e, "iq") && slice_is(xml_attribute(e, "id"), "sync")) {
        away.synced = true;
    }
}

static void on_sender_stanza(struct session *s, struct slice e)
{
    if (xml_is(e, "message"))
        run_error(s->run, "%s: an unexpected message: %.*s", s->jid, (int)(e.len < 160 ? e.len : 160), e.ptr);
    else if (xml_is(e, "iq") && slice_is(xml_attribute(e, "id"), "sync"))
        away.synced = true;
}

static void on_ready(struct session *s) { (void)s, away.receiver_ready = true; }
static void on_over(struct session *s, bool in_order) { (void)s, (void)in_order, away.receiver_over = true; }

/* The sender's part: all messages, handled and acknowledged. */
static bool send_all(void)
{
    const struct options *o = options();
    away.round++;
    for (unsigned k = 0; k < o->messages; k++)
        session_send(away.sender,
                     "<message to='%s%u@%s' type='chat' id='o%u-%u'><body>%s</body>"
                     "<origin-id xmlns='urn:xmpp:sid:0' id='o%u-%u'/></message>",
                     o->prefix, o->first + 1, o->domain, away.round, k, chat_body, away.round, k);
    return synchronise(away.sender) && crowd_settle(&away.crowd, 5);
}

static bool come_back(void)
{
    static const struct session_handler handler = {on_ready, on_received, on_over};
    away.receiver_ready = away.receiver_over = away.told = away.finished = false;
    away.due = 0;
    session_open(away.receiver, away.crowd.run, options()->first + 1, GOAL_QUIET, -1, &handler);
    return wait_for(&away.receiver_ready, "login of the receiver");
}

static bool receive_all(void)
{
    if (options()->archived) {
        catch_up(away.receiver);
        return wait_for(&away.finished, "end of the archive");
    }
    session_send(away.receiver, "<presence/>");
    if (wait_for(&away.told, "message for everything sent"))
        return true;
    away.lost += options()->messages - away.due;
    return false;
}

/* Ends the receiver's stream. What it knows from the archive may come once more as offline messages, unmeasured. */
static bool go_away(void)
{
    if (options()->archived)
        session_send(away.receiver, "<presence/>");
    if (!synchronise(away.receiver)) /* a message too much would come before the answer */
        return false;
    session_close(away.receiver);
    return wait_for(&away.receiver_over, "end of the receiver's stream");
}

static bool one_round(struct usage *storing, struct usage *receiving, struct histogram *latency)
{
    const pid_t *servers = options()->server_pids;
    struct usage from = usage_read(servers);
    if (!send_all())
        return false;
    struct usage to = usage_read(servers);
    usage_add(storing, &from, &to);
    if (!come_back())
        return false;
    from = usage_read(servers);
    bool received = receive_all();
    to = usage_read(servers);
    usage_add(receiving, &from, &to);
    histogram_add(latency, to.wall - from.wall);
    return received && go_away();
}

void scenario_offline(struct run *run)
{
    const struct options *o = &run->options;
    static struct histogram latency;
    struct usage zero = {0}, storing = {0}, receiving = {0};
    uint64_t rounds = 0;
    bool with_server = o->server_pids[0] > 0;
    json_open("offline");
    json_count("messages", o->messages);
    away.crowd.stanza = on_sender_stanza;
    crowd_init(&away.crowd, run, 2);
    away.sender = &away.crowd.sessions[0];
    away.receiver = &away.crowd.sessions[1];
    if (crowd_enter_until(&away.crowd, 1, GOAL_LOGIN)) {
        /* The first round is not counted: it loads what is loaded once. */
        bool well = one_round(&storing, &receiving, &latency);
        storing = receiving = zero;
        histogram_clear(&latency);
        away.messages = 0;
        for (uint64_t until = now_ns() + seconds_ns(o->seconds); well && now_ns() < until; rounds++)
            well = one_round(&storing, &receiving, &latency);
    }
    json_count("rounds", rounds);
    json_rate("stored", rounds * o->messages, &zero, &storing, with_server);
    json_rate("msgs", away.messages, &zero, &receiving, with_server);
    json_latency(&latency);
    json_count("lost", away.lost);
    json_count("repeated", away.repeated);
    if (away.lost || away.repeated)
        run_error(run, "%llu messages lost, %llu repeated or out of order", (unsigned long long)away.lost,
                  (unsigned long long)away.repeated);
    json_usage(&zero, &receiving, with_server);
    crowd_leave(&away.crowd);
    run_close(run);
}
