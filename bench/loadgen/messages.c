/* The scenarios of chat messages: throughput (closed loop) and latency (open loop). */
#include "chat.h"

static bool sending;

static void send_next(struct chat *chat, struct pair *pair)
{
    if (sending)
        chat_send(chat, pair, now_ns());
}

static void turn_until(struct chat *chat, uint64_t until)
{
    for (uint64_t now = now_ns(); now < until && chat->crowd.over == 0; now = now_ns())
        loop_turn(&chat->crowd.run->loop, until);
}

static void finish(struct chat *chat, uint64_t received, const struct usage *from, const struct usage *to)
{
    struct run *run = chat->crowd.run;
    bool with_server = run->options.server_pids[0] > 0;
    if (run->errors == 0 && crowd_settle(&chat->crowd, 5) && run->options.archived)
        chat_check_archive(chat, run->options.timeout);
    json_rate("msgs", received, from, to, with_server);
    json_latency(&chat->latency_ns);
    chat_report(chat);
    json_usage(from, to, with_server);
    chat_leave(chat);
    run_close(run);
}

void scenario_throughput(struct run *run)
{
    const struct options *o = &run->options;
    static struct chat chat;
    json_open("throughput");
    json_count("pairs", o->pairs);
    json_count("window", o->window);
    struct usage from = usage_read(o->server_pids), to = from;
    uint64_t received = 0;
    if (chat_enter(&chat, run, o->pairs, o->window)) {
        chat.arrived = send_next;
        sending = true;
        for (unsigned w = 0; w < o->window; w++)
            for (unsigned i = 0; i < o->pairs; i++)
                chat_send(&chat, &chat.pairs[i], now_ns());
        turn_until(&chat, now_ns() + seconds_ns(o->warmup));
        histogram_clear(&chat.latency_ns);
        uint64_t before = chat.received;
        from = usage_read(o->server_pids);
        turn_until(&chat, now_ns() + seconds_ns(o->seconds));
        to = usage_read(o->server_pids);
        received = chat.received - before;
        sending = false;
        chat_drain(&chat, 5);
    }
    finish(&chat, received, &from, &to);
}

/* Sends what is due, and turns the loop until the next is. */
static void send_at_rate(struct chat *chat, double rate, double seconds)
{
    uint64_t start = now_ns(), total = (uint64_t)(rate * seconds);
    for (uint64_t i = 0; i < total && chat->crowd.over == 0;) {
        uint64_t due = start + (uint64_t)((double)i * 1e9 / rate);
        if (now_ns() >= due) {
            /* From the due time: a stall of the server counts for every message it delays. */
            chat_send(chat, &chat->pairs[i++ % chat->size], due);
            due = 0; /* only look, the next may be due */
        }
        loop_turn(&chat->crowd.run->loop, due);
    }
}

void scenario_latency(struct run *run)
{
    const struct options *o = &run->options;
    static struct chat chat;
    json_open("latency");
    json_count("pairs", o->pairs);
    json_number("rate", o->rate);
    struct usage from = usage_read(o->server_pids), to = from;
    uint64_t received = 0;
    if (chat_enter(&chat, run, o->pairs, 1024)) {
        send_at_rate(&chat, o->rate, o->warmup);
        chat_drain(&chat, 5);
        histogram_clear(&chat.latency_ns);
        uint64_t before = chat.received;
        from = usage_read(o->server_pids);
        send_at_rate(&chat, o->rate, o->seconds);
        to = usage_read(o->server_pids);
        chat_drain(&chat, 5);
        received = chat.received - before;
    }
    finish(&chat, received, &from, &to);
}
