/* The scenario of archive pages: owners of filled archives ask for them, and check every row that comes. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "chat.h"
#include "mam.h"

/* One owner's reading: row k of `rows` has the id "a<user>-<k>" and is with peer k modulo `peers`. */
struct reader {
    unsigned peer;     /* ASK_WITH */
    unsigned due;      /* row that must come next; of the peer's own rows with ASK_WITH */
    unsigned page_end; /* one above the last row of the page under way */
    unsigned number;   /* of the query under way, 0 for none */
    uint64_t since;
    char first[MAM_ID_MAX], last[MAM_ID_MAX]; /* archive ids of the page's rows, "" before the first */
};

static struct {
    struct crowd crowd;
    struct reader *readers;
    unsigned next_reader, next_number, busy;
    bool asking;
    uint64_t queries, rows, whole, lost, repeated;
    struct histogram latency_ns;
} reading;

static const struct options *options(void) { return &reading.crowd.run->options; }
static struct session *session_of(const struct reader *r) { return &reading.crowd.sessions[r - reading.readers]; }

/* Rows that this reader's question is about. */
static unsigned rows_asked(const struct reader *r)
{
    const struct options *o = options();
    return o->ask == ASK_WITH ? o->rows / o->peers + (r->peer < o->rows % o->peers) : o->rows;
}

static void ask(struct reader *r)
{
    const struct options *o = options();
    char with[256];
    snprintf(with, sizeof with, "peer%u@%s", r->peer, o->domain);
    unsigned all = rows_asked(r);
    if (o->ask != ASK_ALL)
        r->due = all > o->page ? all - o->page : 0;
    r->page_end = all - r->due > o->page ? r->due + o->page : all;
    struct mam_query query = {
        .number = r->number = ++reading.next_number, .max = o->page, .newest = o->ask != ASK_ALL,
        .with = o->ask == ASK_WITH ? with : NULL, .after = o->ask == ASK_ALL && r->due ? r->last : NULL,
    };
    r->first[0] = 0;
    if (o->ask != ASK_ALL || r->due == 0)
        r->since = now_ns();
    mam_ask(session_of(r), &query);
}

/* The next owner that asks nothing at the moment begins. */
static void begin_next(void)
{
    if (!reading.asking)
        return;
    struct reader *r;
    do
        r = &reading.readers[reading.next_reader++ % options()->n];
    while (r->number);
    reading.busy++;
    r->due = 0;
    r->peer = (r->peer + 1) % options()->peers;
    ask(r);
}

static void on_row(struct reader *r, const struct mam_answer *row)
{
    const struct options *o = options();
    struct session *s = session_of(r);
    unsigned user, k;
    char text[40] = "";
    struct slice id = xml_attribute(row->message, "id");
    if (id.ptr && id.len < sizeof text)
        memcpy(text, id.ptr, id.len);
    if (row->number != r->number || sscanf(text, "a%u-%u", &user, &k) != 2 || user != s->user
        || !slice_is(xml_text(row->message, "body"), chat_body)
        || (o->ask == ASK_WITH && k % o->peers != r->peer)) {
        run_error(s->run, "%s: a row that is not its, or was not asked for: %.60s", s->jid, text);
        return;
    }
    unsigned position = o->ask == ASK_WITH ? k / o->peers : k;
    if (position < r->due) {
        reading.repeated++; /* or out of order; either way it is not the row that is due */
        return;
    }
    reading.lost += position - r->due;
    r->due = position + 1;
    reading.rows++;
    bool kept = mam_copy_id(r->last, row->id) && (r->first[0] || mam_copy_id(r->first, row->id));
    if (!kept)
        run_error(s->run, "%s: an archive id is too long", s->jid);
}

/* Whether the end of a page says what its rows were; counts those that did not come. */
static void check_end(const struct reader *r, const struct mam_answer *end, bool was_empty)
{
    const struct options *o = options();
    struct session *s = session_of(r);
    bool all_seen = r->due >= rows_asked(r), whole = o->ask == ASK_ALL ? all_seen : rows_asked(r) <= o->page;
    if (r->due < r->page_end)
        reading.lost += r->page_end - r->due;
    else if (r->due > r->page_end)
        run_error(s->run, "%s: a page of more than %u rows", s->jid, o->page);
    if (!was_empty && (!slice_is(end->first, r->first) || !slice_is(end->last, r->last)))
        run_error(s->run, "%s: a page whose ends are not its first and last row", s->jid);
    if (end->complete && !whole)
        run_error(s->run, "%s: said to be complete after row %u of %u", s->jid, r->due, rows_asked(r));
}

static void on_end(struct reader *r, const struct mam_answer *end)
{
    const struct options *o = options();
    bool was_empty = r->first[0] == 0;
    reading.queries++;
    check_end(r, end, was_empty);
    r->number = 0;
    bool goes_on = o->ask == ASK_ALL && !end->complete && !was_empty;
    if (goes_on && reading.asking) {
        ask(r); /* where the last page was full, a server may learn only then that it was the last */
        return;
    }
    if (!goes_on) { /* else time is up in the middle of an archive, which may be long */
        reading.whole++;
        histogram_add(&reading.latency_ns, now_ns() - r->since);
    }
    reading.busy--;
    begin_next();
}

static void on_stanza(struct session *s, struct slice e)
{
    struct reader *r = &reading.readers[s - reading.crowd.sessions];
    struct mam_answer answer;
    enum mam_kind kind = mam_read(e, &answer);
    if (kind == MAM_OTHER)
        return;
    if (kind == MAM_ROW)
        on_row(r, &answer);
    else if (kind == MAM_ERROR || answer.number != r->number)
        run_error(s->run, "%s: no answer to its query: %.*s", s->jid, (int)(e.len < 160 ? e.len : 160), e.ptr);
    else
        on_end(r, &answer);
}

static void turn_until(uint64_t until)
{
    struct run *run = reading.crowd.run;
    while (now_ns() < until && reading.crowd.over == 0 && run->errors == 0)
        loop_turn(&run->loop, until);
}

static void turn_until_page(uint64_t until)
{
    struct run *run = reading.crowd.run;
    uint64_t seen = reading.queries;
    while (reading.queries == seen && now_ns() < until && reading.crowd.over == 0 && run->errors == 0)
        loop_turn(&run->loop, now_ns() + seconds_ns(0.1));
}

/* Lets the queries under way come to their end. */
static void drain(void)
{
    struct run *run = reading.crowd.run;
    uint64_t until = now_ns() + seconds_ns(run->options.timeout);
    reading.asking = false;
    while (reading.busy && now_ns() < until && reading.crowd.over == 0 && run->errors == 0)
        loop_turn(&run->loop, now_ns() + seconds_ns(0.05));
    if (reading.busy && run->errors == 0)
        run_error(run, "%u queries were not answered", reading.busy);
}

static void report(const struct usage *from, const struct usage *to, uint64_t queries, uint64_t rows)
{
    struct run *run = reading.crowd.run;
    bool with_server = run->options.server_pids[0] > 0;
    json_rate("pages", queries, from, to, with_server);
    json_rate("rows", rows, from, to, with_server);
    json_latency(&reading.latency_ns);
    json_count("whole_readings", reading.whole);
    json_count("lost", reading.lost);
    json_count("repeated", reading.repeated);
    if (reading.lost || reading.repeated)
        run_error(run, "%llu rows missing, %llu repeated or out of order", (unsigned long long)reading.lost,
                  (unsigned long long)reading.repeated);
    json_usage(from, to, with_server);
}

void scenario_archive(struct run *run)
{
    const struct options *o = &run->options;
    static const char *const names[] = {"last", "with", "all"};
    json_open("archive");
    json_text("ask", names[o->ask]);
    json_count("clients", o->clients);
    struct usage from = usage_read(o->server_pids), to = from;
    uint64_t queries = 0, rows = 0;
    reading.crowd.stanza = on_stanza;
    reading.readers = need(o->n, sizeof *reading.readers);
    if (o->clients > o->n)
        run_error(run, "more --clients than owners (--n)");
    if (crowd_enter(&reading.crowd, run, o->n, GOAL_QUIET) && run->errors == 0) {
        reading.asking = true;
        for (unsigned i = 0; i < o->clients; i++)
            begin_next();
        turn_until(now_ns() + seconds_ns(o->warmup));
        histogram_clear(&reading.latency_ns);
        queries = reading.queries;
        rows = reading.rows;
        from = usage_read(o->server_pids);
        turn_until(now_ns() + seconds_ns(o->seconds));
        if (reading.queries == queries) /* so slow that the time was over within the first page: wait for it */
            turn_until_page(now_ns() + seconds_ns(o->timeout));
        to = usage_read(o->server_pids);
        queries = reading.queries - queries;
        rows = reading.rows - rows;
        drain();
    }
    report(&from, &to, queries, rows);
    crowd_leave(&reading.crowd);
    free(reading.readers);
    run_close(run);
}
