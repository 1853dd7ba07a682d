#include "crowd.h"

#include <stdlib.h>

static void on_ready(struct session *s)
{
    struct crowd *crowd = s->owner;
    crowd->ready++;
    histogram_add(&crowd->login_ns, now_ns() - s->started);
    if (s->goal == GOAL_REGISTER)
        session_close(s);
}

static void on_stanza(struct session *s, struct slice stanza)
{
    struct crowd *crowd = s->owner;
    if (crowd->stanza)
        crowd->stanza(s, stanza);
}

static void on_over(struct session *s, bool in_order)
{
    struct crowd *crowd = s->owner;
    (void)in_order;
    crowd->over++;
}

static const struct session_handler handler = {on_ready, on_stanza, on_over};

void crowd_init(struct crowd *crowd, struct run *run, unsigned size)
{
    *crowd = (struct crowd){.run = run, .size = size, .stanza = crowd->stanza};
    crowd->sessions = need(size, sizeof *crowd->sessions);
    run->users = size;
    run->keys = need(size, sizeof *run->keys);
}

bool crowd_enter_until(struct crowd *crowd, unsigned size, enum goal goal)
{
    struct run *run = crowd->run;
    const struct options *o = &run->options;
    uint64_t progress = now_ns();
    unsigned seen = crowd->ready;
    while (crowd->ready < size && crowd->over <= (goal == GOAL_REGISTER ? crowd->ready : 0)) {
        /* A registration is under way until its stream has ended. */
        unsigned finished = goal == GOAL_REGISTER ? crowd->over : crowd->ready;
        while (crowd->next < size && crowd->next - finished < o->concurrency) {
            struct session *s = &crowd->sessions[crowd->next];
            s->owner = crowd;
            session_open(s, run, o->first + crowd->next, goal, (int)(crowd->next % o->sources), &handler);
            crowd->next++;
        }
        loop_turn(&run->loop, now_ns() + seconds_ns(0.1));
        if (crowd->ready != seen) {
            seen = crowd->ready;
            progress = now_ns();
        } else if (now_ns() - progress > seconds_ns(o->timeout)) {
            run_error(run, "no login within %.0f s; %u of %u are in", o->timeout, crowd->ready, size);
            return false;
        }
    }
    return crowd->ready >= size && run->errors == 0;
}

bool crowd_enter(struct crowd *crowd, struct run *run, unsigned size, enum goal goal)
{
    crowd_init(crowd, run, size);
    return crowd_enter_until(crowd, size, goal);
}

/* How many stanzas are not acknowledged; asks again for them where `ask` says so. */
static unsigned long unacknowledged(struct crowd *crowd, bool ask)
{
    unsigned long open = 0;
    for (unsigned i = 0; i < crowd->next; i++) {
        struct session *s = &crowd->sessions[i];
        if (s->phase != PHASE_READY || sm_is_settled(&s->sm))
            continue;
        open += s->sm.sent - s->sm.acknowledged;
        if (ask)
            session_ask(s);
    }
    return open;
}

bool crowd_settle(struct crowd *crowd, double patience)
{
    uint64_t until = now_ns() + seconds_ns(patience), again = now_ns();
    unsigned long open;
    do {
        bool ask = now_ns() >= again;
        if (ask) /* a server may answer before all of it is on disk */
            again = now_ns() + seconds_ns(0.5);
        open = unacknowledged(crowd, ask);
        if (open)
            loop_turn(&crowd->run->loop, now_ns() + seconds_ns(0.05));
    } while (open && now_ns() < until && crowd->over == 0);
    if (open)
        run_error(crowd->run, "%lu stanzas were never acknowledged", open);
    return open == 0;
}

bool crowd_cut(struct crowd *crowd, unsigned from)
{
    struct run *run = crowd->run;
    for (unsigned i = from; i < crowd->next; i++) {
        struct session *s = &crowd->sessions[i];
        conn_printf(&s->conn, "<a xmlns='" NS_SM "' h='%u'/>", s->sm.handled);
        session_ask(s);
    }
    /* The answers come behind the counts: then the server holds nothing back for anybody. */
    uint64_t until = now_ns() + seconds_ns(run->options.timeout);
    unsigned long wanted = run->acks + crowd->next - from;
    while (run->acks < wanted && now_ns() < until && crowd->over == 0)
        loop_turn(&run->loop, now_ns() + seconds_ns(0.05));
    if (!crowd_settle(crowd, 5) || crowd->over)
        return false;
    for (unsigned i = from; i < crowd->next; i++) {
        if (!crowd->sessions[i].sm.id[0])
            run_error(run, "%s: its session cannot be resumed", crowd->sessions[i].jid);
        session_cut(&crowd->sessions[i]);
        crowd->cut++;
    }
    return run->errors == 0;
}

void crowd_end(struct crowd *crowd)
{
    uint64_t until = now_ns() + seconds_ns(crowd->run->options.timeout);
    unsigned leaving = 0;
    if (crowd->run->errors == 0)
        crowd_settle(crowd, 10);
    /* Thousands of ends at once would measure nothing and only fill the server's queues. */
    while (crowd->over + crowd->cut < crowd->next && now_ns() < until) {
        while (leaving < crowd->next && leaving < crowd->over + crowd->cut + 64)
            session_close(&crowd->sessions[leaving++]);
        loop_turn(&crowd->run->loop, now_ns() + seconds_ns(0.1));
    }
    if (crowd->over + crowd->cut < crowd->next)
        run_error(crowd->run, "%u streams did not end", crowd->next - crowd->over - crowd->cut);
}

void crowd_leave(struct crowd *crowd)
{
    crowd_end(crowd);
    for (unsigned i = 0; i < crowd->next; i++) {
        buffer_free(&crowd->sessions[i].conn.in);
        buffer_free(&crowd->sessions[i].conn.out);
    }
    free(crowd->sessions);
    free(crowd->run->keys);
    crowd->sessions = NULL;
    crowd->run->keys = NULL;
}
