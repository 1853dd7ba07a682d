/* Pairs of clients, the first of which writes to the second, and the account of what arrived. */
#ifndef LOADGEN_CHAT_H
#define LOADGEN_CHAT_H

#include "crowd.h"
#include "mam.h"

/* The body of every message: 100 bytes, so that a message has about 300 in all. */
extern const char chat_body[];

struct pair {
    struct session *sender;
    struct session *receiver;
    char to[256]; /* the receiver's bare JID */
    uint64_t next;    /* number of the next message */
    uint64_t lowest;  /* all below have arrived or are given up */
    uint64_t highest; /* one above the highest that arrived */
    bool in_archive;  /* the last message was found there */
    uint64_t *sent;   /* by number modulo the ring's size: due or sending time, 0 once arrived */
};

struct chat {
    struct crowd crowd;
    struct pair *pairs;
    unsigned size;
    uint64_t ring; /* a power of two */
    uint64_t received, lost, duplicates, reordered;
    struct histogram latency_ns;
    /* Called for each message that arrives for the first time; may be NULL. */
    void (*arrived)(struct chat *, struct pair *);
};

/* Logs 2 x `pairs` users in.  `outstanding` is the most a pair may have on the way. */
bool chat_enter(struct chat *chat, struct run *run, unsigned pairs, uint64_t outstanding);
/* Sends one message whose latency counts from `since`. */
void chat_send(struct chat *chat, struct pair *pair, uint64_t since);
/* Waits until nothing is on the way or nothing has come for `patience` seconds, then counts the lost. */
void chat_drain(struct chat *chat, double patience);
/* Asks each receiver's archive for its newest message, which must be the last that was sent to it. */
void chat_check_archive(struct chat *chat, double patience);
/* Loss, repetition and disorder as JSON, and as errors. */
void chat_report(struct chat *chat);
void chat_leave(struct chat *chat);

#endif
