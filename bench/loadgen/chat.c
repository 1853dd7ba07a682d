#include "chat.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char chat_body[] = "The quick brown fox jumps over the lazy dog, then sits down in the shade and "
                        "thinks about tomorrow ...";

void chat_send(struct chat *chat, struct pair *pair, uint64_t since)
{
    uint64_t number = pair->next++;
    if (number - pair->lowest >= chat->ring) {
        /* Whatever lies a whole ring behind is not coming any more. */
        chat->lost++;
        pair->lowest++;
        while (pair->lowest < number && !pair->sent[pair->lowest & (chat->ring - 1)])
            pair->lowest++;
    }
    pair->sent[number & (chat->ring - 1)] = since;
    char id[40];
    int length = snprintf(id, sizeof id, "m%05u-%013llu", (unsigned)(pair - chat->pairs),
                          (unsigned long long)number);
    session_send(pair->sender,
                "<message to='%s' type='chat' id='%.*s'><body>%s</body>"
                "<origin-id xmlns='urn:xmpp:sid:0' id='%.*s'/>"
                "<active xmlns='http://jabber.org/protocol/chatstates'/></message>",
                pair->to, length, id, chat_body, length, id);
}

static void arrive(struct chat *chat, struct pair *pair, uint64_t number)
{
    uint64_t *since = &pair->sent[number & (chat->ring - 1)];
    if (number >= pair->next) {
        run_error(chat->crowd.run, "%s received message %llu, which nobody sent", pair->to,
                  (unsigned long long)number);
        return;
    }
    if (number < pair->lowest || *since == 0) {
        chat->duplicates++;
        return;
    }
    if (number < pair->highest)
        chat->reordered++;
    else
        pair->highest = number + 1;
    histogram_add(&chat->latency_ns, now_ns() - *since);
    *since = 0;
    while (pair->lowest < pair->next && pair->sent[pair->lowest & (chat->ring - 1)] == 0)
        pair->lowest++;
    chat->received++;
    if (chat->arrived)
        chat->arrived(chat, pair);
}

/* A row of a receiver's archive, asked for at the end. */
static void found(struct pair *pair, const struct mam_answer *row)
{
    char last[40];
    int length = snprintf(last, sizeof last, "m%05u-%013llu", row->number - 1, (unsigned long long)pair->next - 1);
    struct slice id = xml_attribute(row->message, "id");
    pair->in_archive = slice_starts(id, last, (size_t)length) && slice_is(xml_text(row->message, "body"), chat_body);
}

static void on_stanza(struct session *s, struct slice e)
{
    struct chat *chat = s->owner;
    struct mam_answer row;
    if (!xml_is(e, "message"))
        return;
    unsigned index = (unsigned)(s - chat->crowd.sessions) / 2;
    struct pair *pair = &chat->pairs[index];
    if (mam_read(e, &row) == MAM_ROW && row.number == index + 1) {
        found(pair, &row);
        return;
    }
    struct slice id = xml_attribute(e, "id"), from = xml_attribute(e, "from");
    unsigned sender;
    unsigned long long number;
    char text[40];
    if (!id.ptr || id.len >= sizeof text) {
        run_error(chat->crowd.run, "%s: unexpected message: %.*s", s->jid, (int)e.len, e.ptr);
        return;
    }
    memcpy(text, id.ptr, id.len);
    text[id.len] = 0;
    if (slice_is(xml_attribute(e, "type"), "error"))
        run_error(chat->crowd.run, "%s: error message: %.*s", s->jid, (int)e.len, e.ptr);
    else if (s != pair->receiver || !slice_is(from, pair->sender->jid) || !slice_is(xml_text(e, "body"), chat_body)
             || sscanf(text, "m%u-%llu", &sender, &number) != 2 || sender != index)
        run_error(chat->crowd.run, "%s: a message that is not its: %.*s", s->jid, (int)e.len, e.ptr);
    else if (s->run->options.archived && !xml_find(e, "stanza-id").ptr)
        run_error(chat->crowd.run, "%s: a message that is not archived: %.*s", s->jid, (int)e.len, e.ptr);
    else
        arrive(chat, pair, number);
}

bool chat_enter(struct chat *chat, struct run *run, unsigned pairs, uint64_t outstanding)
{
    *chat = (struct chat){.size = pairs, .ring = 64};
    while (chat->ring < outstanding * 4)
        chat->ring *= 2;
    chat->pairs = need(pairs, sizeof *chat->pairs);
    chat->crowd.stanza = on_stanza;
    if (!crowd_enter(&chat->crowd, run, 2 * pairs, GOAL_LOGIN))
        return false;
    for (unsigned i = 0; i < pairs; i++) {
        struct pair *pair = &chat->pairs[i];
        pair->sender = &chat->crowd.sessions[2 * i];
        pair->receiver = &chat->crowd.sessions[2 * i + 1];
        pair->sent = need(chat->ring, sizeof *pair->sent);
        snprintf(pair->to, sizeof pair->to, "%.*s", (int)pair->receiver->bare_length, pair->receiver->jid);
    }
    return true;
}

static uint64_t on_the_way(const struct chat *chat)
{
    uint64_t open = 0;
    for (unsigned i = 0; i < chat->size; i++)
        for (uint64_t n = chat->pairs[i].lowest; n < chat->pairs[i].next; n++)
            open += chat->pairs[i].sent[n & (chat->ring - 1)] != 0;
    return open;
}

void chat_drain(struct chat *chat, double patience)
{
    uint64_t seen = chat->received, progress = now_ns(), open;
    while ((open = on_the_way(chat)) > 0 && now_ns() - progress < seconds_ns(patience)
           && chat->crowd.over == 0) {
        loop_turn(&chat->crowd.run->loop, now_ns() + seconds_ns(0.05));
        if (chat->received != seen) {
            seen = chat->received;
            progress = now_ns();
        }
    }
    chat->lost += open;
}

void chat_check_archive(struct chat *chat, double patience)
{
    uint64_t until = now_ns() + seconds_ns(patience);
    unsigned asked = 0, missing = 1;
    while (missing && now_ns() < until && chat->crowd.over == 0 && chat->crowd.run->errors == 0) {
        /* A few at a time: it is no part of the measurement and must not need a queue in the server. */
        unsigned answered = 0;
        for (unsigned i = 0; i < asked; i++)
            answered += chat->pairs[i].in_archive;
        for (; asked < chat->size && asked - answered < 8; asked++) {
            struct pair *pair = &chat->pairs[asked];
            pair->in_archive = pair->next == 0;
            if (pair->next)
                mam_ask(pair->receiver, &(struct mam_query){.number = asked + 1, .newest = true, .max = 1});
        }
        missing = chat->size - answered;
        if (missing)
            loop_turn(&chat->crowd.run->loop, now_ns() + seconds_ns(0.05));
    }
    if (missing)
        run_error(chat->crowd.run, "%u receivers do not find their last message in the archive", missing);
}

void chat_report(struct chat *chat)
{
    json_count("lost", chat->lost);
    json_count("duplicates", chat->duplicates);
    json_count("reordered", chat->reordered);
    if (chat->lost)
        run_error(chat->crowd.run, "%llu messages lost", (unsigned long long)chat->lost);
    if (chat->duplicates)
        run_error(chat->crowd.run, "%llu messages came twice", (unsigned long long)chat->duplicates);
    if (chat->reordered)
        run_error(chat->crowd.run, "%llu messages overtaken", (unsigned long long)chat->reordered);
}

void chat_leave(struct chat *chat)
{
    crowd_leave(&chat->crowd);
    for (unsigned i = 0; i < chat->size; i++)
        free(chat->pairs[i].sent);
    free(chat->pairs);
}
