/* The scenario of logins: clients that have been there before come and go, or lose their connection and come back. */
#include "crowd.h"

/* Users for each login at a time: a server may take 0.1 s to end a stream, which must not hold up others. */
enum { USERS_EACH = 8 };

struct logins {
    struct run *run;
    struct session *sessions; /* one for each user, with what its client keeps from login to login */
    enum goal goal;
    unsigned next, under_way;
    uint64_t done, ended_in_order;
    struct histogram login_ns, close_ns;
};

static void on_ready(struct session *s)
{
    struct logins *logins = s->owner;
    logins->under_way--;
    logins->done++;
    histogram_add(&logins->login_ns, now_ns() - s->started);
    s->started = now_ns();
    if (logins->goal == GOAL_RESUME)
        session_cut(s);
    else
        session_close(s);
}

static void on_over(struct session *s, bool in_order)
{
    struct logins *logins = s->owner;
    logins->under_way -= !s->was_ready;
    logins->ended_in_order += in_order;
    if (in_order)
        histogram_add(&logins->close_ns, now_ns() - s->started);
}

/* Keeps --conc logins going until then. */
static void log_in_until(struct logins *logins, uint64_t until)
{
    static const struct session_handler handler = {on_ready, NULL, on_over};
    struct run *run = logins->run;
    const struct options *o = &run->options;
    while (now_ns() < until && run->errors < 100) {
        while (logins->under_way < o->concurrency) {
            struct session *s = &logins->sessions[logins->next];
            if (s->conn.state != CONN_CLOSED)
                break;
            s->owner = logins;
            logins->under_way++;
            session_open(s, run, o->first + logins->next, logins->goal, (int)(logins->next % o->sources), &handler);
            logins->next = (logins->next + 1) % o->n;
        }
        loop_turn(&run->loop, until);
    }
}

/* Lets the logins under way come to their end. */
static void finish_logins(struct logins *logins)
{
    struct run *run = logins->run;
    uint64_t until = now_ns() + seconds_ns(run->options.timeout);
    unsigned open = 1;
    while (open && now_ns() < until) {
        open = 0;
        for (unsigned i = 0; i < run->options.n; i++)
            open += logins->sessions[i].conn.state != CONN_CLOSED;
        if (open)
            loop_turn(&run->loop, now_ns() + seconds_ns(0.1));
    }
    if (open)
        run_error(run, "%u logins did not come to an end", open);
    else if (logins->goal == GOAL_LOGIN && logins->ended_in_order != logins->done)
        run_error(run, "%lu streams were not ended in order", (unsigned long)(logins->done - logins->ended_in_order));
}

/* Everybody once: afterwards the clients have keys, tokens or sessions, as clients have that were there before. */
static bool prepare(struct crowd *crowd, struct run *run)
{
    bool entered = crowd_enter(crowd, run, run->options.n, GOAL_LOGIN);
    if (entered && run->options.resume)
        return crowd_cut(crowd, 0);
    crowd_end(crowd);
    return entered && run->errors == 0;
}

void scenario_login(struct run *run)
{
    const struct options *o = &run->options;
    static struct logins logins;
    struct crowd crowd = {0};
    json_open("login");
    json_count("concurrency", o->concurrency);
    struct usage from = usage_read(o->server_pids), to = from;
    if (o->n <= o->concurrency * USERS_EACH) { /* or one user would log in twice at a time */
        run_error(run, "login needs more users: --n above %u for this --conc", o->concurrency * USERS_EACH);
    } else if (prepare(&crowd, run)) {
        logins.run = run;
        logins.sessions = crowd.sessions;
        logins.goal = o->resume ? GOAL_RESUME : GOAL_LOGIN;
        from = usage_read(o->server_pids);
        log_in_until(&logins, now_ns() + seconds_ns(o->seconds));
        finish_logins(&logins); /* their cost is in, so they count */
        to = usage_read(o->server_pids);
    }
    json_rate("logins", logins.done, &from, &to, o->server_pids[0] > 0);
    json_latency(&logins.login_ns);
    json_number("close_p50_ms", histogram_ms(&logins.close_ns, 0.5));
    json_usage(&from, &to, o->server_pids[0] > 0);
    run_close(run);
}
