/* The scenarios of whole logins: register, login, idle. */
#include <stdlib.h>
#include <string.h>

#include "crowd.h"

void scenario_register(struct run *run)
{
    const struct options *o = &run->options;
    struct crowd crowd = {0};
    json_open("register");
    struct usage from = usage_read(o->server_pids);
    crowd_enter(&crowd, run, o->n, GOAL_REGISTER);
    crowd_leave(&crowd);
    struct usage to = usage_read(o->server_pids);
    json_count("accounts", crowd.ready);
    json_rate("registrations", crowd.ready, &from, &to, o->server_pids[0] > 0);
    json_usage(&from, &to, o->server_pids[0] > 0);
    run_close(run);
}

/* Slots for each login at a time: a server may take 0.1 s to end a stream, which must not hold up others. */
enum { SLOTS_EACH = 8 };

struct logins {
    struct session *slots;
    unsigned size;
    unsigned next; /* user, counted from options.first */
    uint64_t done, closed_in_order;
    struct histogram login_ns, close_ns;
};

static void on_ready(struct session *s)
{
    struct logins *logins = s->owner;
    logins->done++;
    histogram_add(&logins->login_ns, now_ns() - s->started);
    s->started = now_ns();
    session_close(s);
}

static void on_over(struct session *s, bool in_order)
{
    struct logins *logins = s->owner;
    logins->closed_in_order += in_order;
    if (in_order)
        histogram_add(&logins->close_ns, now_ns() - s->started);
}

/* Keeps `concurrency` logins going until that time, or until `total` have begun. */
static void log_in_until(struct run *run, struct logins *logins, uint64_t until, uint64_t total)
{
    static const struct session_handler handler = {on_ready, NULL, on_over};
    const struct options *o = &run->options;
    uint64_t begun = 0;
    while (now_ns() < until && begun < total && run->errors < 100) {
        unsigned under_way = 0;
        for (unsigned i = 0; i < logins->size; i++) {
            struct session *s = &logins->slots[i];
            under_way += s->conn.state != CONN_CLOSED && s->phase != PHASE_CLOSING;
        }
        for (unsigned i = 0; i < logins->size && under_way < o->concurrency && begun < total; i++) {
            struct session *s = &logins->slots[i];
            if (s->conn.state != CONN_CLOSED)
                continue;
            s->owner = logins;
            int source = (int)(logins->next % o->sources);
            session_open(s, run, o->first + logins->next, GOAL_LOGIN, source, &handler);
            logins->next = (logins->next + 1) % run->users;
            begun++;
            under_way++;
        }
        loop_turn(&run->loop, until);
    }
}

/* Lets the logins under way come to their end. */
static void finish_logins(struct run *run, struct logins *logins)
{
    uint64_t until = now_ns() + seconds_ns(run->options.timeout);
    unsigned open = 1;
    while (open && now_ns() < until) {
        open = 0;
        for (unsigned i = 0; i < logins->size; i++)
            open += logins->slots[i].conn.state != CONN_CLOSED;
        if (open)
            loop_turn(&run->loop, now_ns() + seconds_ns(0.1));
    }
    if (open)
        run_error(run, "%u logins did not come to an end", open);
}

void scenario_login(struct run *run)
{
    const struct options *o = &run->options;
    struct logins *logins = need(1, sizeof *logins);
    logins->size = o->concurrency * SLOTS_EACH;
    if (o->n <= logins->size) /* or one user would log in twice at a time */
        run_error(run, "login needs more users: --n above %u for this --conc", logins->size);
    run->users = o->n;
    run->keys = need(o->n, sizeof *run->keys);
    logins->slots = need(logins->size, sizeof *logins->slots);
    json_open("login");
    json_count("concurrency", o->concurrency);
    struct usage from = usage_read(o->server_pids), to = from;
    uint64_t done = 0;
    if (run->errors == 0) {
        /* Everybody once: afterwards all keys are cached, as in clients that have been there before. */
        log_in_until(run, logins, now_ns() + seconds_ns(o->timeout), o->n);
        finish_logins(run, logins);
        uint64_t before = logins->done;
        histogram_clear(&logins->login_ns);
        histogram_clear(&logins->close_ns);
        from = usage_read(o->server_pids);
        log_in_until(run, logins, now_ns() + seconds_ns(o->seconds), UINT64_MAX);
        finish_logins(run, logins); /* their cost is in, so they count */
        to = usage_read(o->server_pids);
        done = logins->done - before;
        if (logins->closed_in_order != logins->done)
            run_error(run, "%lu streams were not ended in order",
                      (unsigned long)(logins->done - logins->closed_in_order));
    }
    json_rate("logins", done, &from, &to, o->server_pids[0] > 0);
    json_latency(&logins->login_ns);
    json_number("close_p50_ms", histogram_ms(&logins->close_ns, 0.5));
    json_usage(&from, &to, o->server_pids[0] > 0);
    run_close(run);
}

/* Turns the loop until then, as long as nobody leaves. */
static void wait_quietly(struct run *run, struct crowd *crowd, double seconds)
{
    uint64_t until = now_ns() + seconds_ns(seconds);
    while (now_ns() < until && crowd->over == 0)
        loop_turn(&run->loop, until);
}

void scenario_idle(struct run *run)
{
    const struct options *o = &run->options;
    struct crowd crowd = {0};
    /* The first few make the server load what it loads once; only what comes after is per connection. */
    unsigned early = o->n > 100 ? 50 : 1;
    struct memory few = {0, 0}, all = {0, 0};
    json_open("idle");
    crowd_init(&crowd, run, o->n);
    struct usage from = usage_read(o->server_pids), to = from;
    bool entered = crowd_enter_until(&crowd, early, GOAL_LOGIN);
    wait_quietly(run, &crowd, o->settle / 4);
    if (o->server_pids[0])
        few = memory_read(o->server_pids);
    if (entered) {
        from = usage_read(o->server_pids);
        entered = crowd_enter_until(&crowd, o->n, GOAL_LOGIN);
        to = usage_read(o->server_pids);
        wait_quietly(run, &crowd, o->settle);
    }
    if (o->server_pids[0])
        all = memory_read(o->server_pids);
    unsigned counted = crowd.ready - crowd.over - early;
    json_count("connections", crowd.ready - crowd.over);
    if (entered && o->server_pids[0] && counted > 0) {
        json_number("rss_kb_per_conn", (all.rss_kib - few.rss_kib) / counted);
        json_number("pss_kb_per_conn", (all.pss_kib - few.pss_kib) / counted);
        json_number("rss_mib", all.rss_kib / 1024);
        json_number("rss_few_mib", few.rss_kib / 1024);
    }
    if (entered)
        json_number("connect_all_s", (double)(to.wall - from.wall) / 1e9);
    crowd_leave(&crowd);
    json_usage(&from, &to, o->server_pids[0] > 0);
    run_close(run);
}
