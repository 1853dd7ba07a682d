/* The scenario of sessions that lost their connection and wait to be resumed (XEP-0198 §5). */
#include "crowd.h"

enum { WAVE = 100, SAMPLE_MAX = 50 };

static void wait_quietly(struct run *run, const struct crowd *crowd, double seconds)
{
    uint64_t until = now_ns() + seconds_ns(seconds);
    while (now_ns() < until && crowd->over == 0)
        loop_turn(&run->loop, until);
}

static bool hibernate_until(struct crowd *crowd, unsigned size)
{
    while (crowd->next < size) {
        unsigned from = crowd->next, to = from + WAVE < size ? from + WAVE : size;
        if (!crowd_enter_until(crowd, to, GOAL_LOGIN) || !crowd_cut(crowd, from))
            return false;
    }
    return true;
}

/* Resumes some of all ages: whoever counts memory of sessions must know that they are there. */
static unsigned resume_some(struct crowd *crowd)
{
    struct run *run = crowd->run;
    unsigned sample = crowd->next < SAMPLE_MAX ? crowd->next : SAMPLE_MAX, before = crowd->ready;
    uint64_t until = now_ns() + seconds_ns(run->options.timeout);
    for (unsigned i = 0; i < sample; i++) {
        struct session *s = &crowd->sessions[(uint64_t)i * crowd->next / sample];
        crowd->cut--;
        session_open(s, run, s->user, GOAL_RESUME, (int)(i % run->options.sources), s->handler);
    }
    while (crowd->ready - before < sample && crowd->over == 0 && now_ns() < until)
        loop_turn(&run->loop, now_ns() + seconds_ns(0.1));
    if (crowd->ready - before < sample)
        run_error(run, "%u of %u sessions were resumed", crowd->ready - before, sample);
    return crowd->ready - before;
}

void scenario_hibernate(struct run *run)
{
    struct options *o = &run->options;
    struct crowd crowd = {0};
    struct memory few = {0, 0}, all = {0, 0};
    bool with_server = o->server_pids[0] > 0;
    /* What the first ones leave behind as free memory, those after them use again. */
    unsigned early = o->n > 4 * WAVE ? o->n / 4 : 1, resumed = 0;
    o->sm = true;
    json_open("hibernate");
    crowd_init(&crowd, run, o->n);
    struct usage from = usage_read(o->server_pids), to = from;
    bool entered = hibernate_until(&crowd, early);
    wait_quietly(run, &crowd, o->settle / 4);
    if (with_server)
        few = memory_read(o->server_pids);
    if (entered) {
        from = usage_read(o->server_pids);
        entered = hibernate_until(&crowd, o->n);
        to = usage_read(o->server_pids);
        wait_quietly(run, &crowd, o->settle);
    }
    if (with_server)
        all = memory_read(o->server_pids);
    if (entered)
        resumed = resume_some(&crowd);
    json_count("sessions", crowd.next);
    json_count("resumed", resumed);
    if (entered && with_server && o->n > early) {
        json_number("rss_kb_per_session", (all.rss_kib - few.rss_kib) / (o->n - early));
        json_number("rss_mib", all.rss_kib / 1024);
    }
    crowd_leave(&crowd);
    json_usage(&from, &to, with_server);
    run_close(run);
}
