/* The scenarios of accounts that come once: register, idle. */
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
