/* A client: from the TCP connection to "logged in, presence sent", or to an account registered. */
#ifndef LOADGEN_SESSION_H
#define LOADGEN_SESSION_H

#include "run.h"

enum goal { GOAL_LOGIN, GOAL_REGISTER };

enum phase {
    PHASE_NONE,      /* not connected, or over */
    PHASE_FEATURES,  /* waiting for <stream:features/> */
    PHASE_PROCEED,   /* STARTTLS asked for */
    PHASE_CHALLENGE, /* SCRAM's first message sent */
    PHASE_SUCCESS,   /* SCRAM's proof, or PLAIN, sent */
    PHASE_BIND,
    PHASE_REGISTER,
    PHASE_START, /* carbons, roster and presence asked for */
    PHASE_READY,
    PHASE_CLOSING,
};

struct session;

struct session_handler {
    void (*ready)(struct session *); /* logged in, or registered */
    /* Every stanza after bind (messages, presences, IQ results and sets); may be NULL. */
    void (*stanza)(struct session *, struct slice stanza);
    void (*over)(struct session *, bool in_order); /* the connection is gone; errors are counted already */
};

struct session {
    struct conn conn;
    struct run *run;
    const struct session_handler *handler;
    void *owner; /* the scenario's own */
    unsigned user;
    enum goal goal;
    enum phase phase;
    bool authenticated;
    unsigned awaited; /* bits of what PHASE_START still waits for */
    uint64_t started; /* ns, for the caller */
    struct scram scram;
    char jid[256];
    size_t bare_length; /* of the bare JID within `jid` */
};

/* `source` is a number of a source address, or -1 for the system's choice. */
void session_open(struct session *s, struct run *run, unsigned user, enum goal goal, int source,
                  const struct session_handler *handler);
/* Ends the stream in order; `over` follows when the server has answered. */
void session_close(struct session *s);

#endif
