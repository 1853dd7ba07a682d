/* A client: from the TCP connection to "logged in, presence sent", or to an account registered. */
#ifndef LOADGEN_SESSION_H
#define LOADGEN_SESSION_H

#include "run.h"
#include "sm.h"

enum goal {
    GOAL_LOGIN, /* ready when carbons (and stream management) are on, the roster and the own presence came */
    GOAL_REGISTER,
    GOAL_QUIET,  /* a login without presence */
    GOAL_RESUME, /* the stream that the session had before it was cut (XEP-0198 §5) */
};

enum phase {
    PHASE_NONE,      /* not connected, or over */
    PHASE_FEATURES,  /* waiting for <stream:features/> */
    PHASE_PROCEED,   /* STARTTLS asked for */
    PHASE_CHALLENGE, /* SCRAM's first message sent */
    PHASE_SUCCESS,   /* SCRAM's proof, or PLAIN, sent */
    PHASE_TOKEN,   /* the token sent, together with the stream header */
    PHASE_SUCCESS_2, /* <authenticate/> sent, or what the server's challenge asks for */
    PHASE_BIND,
    PHASE_REGISTER,
    PHASE_RESUME,
    PHASE_START, /* carbons, roster and presence asked for */
    PHASE_READY,
    PHASE_CLOSING,
    PHASE_CUT, /* by us */
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
    bool was_ready; /* since it was opened */
    unsigned awaited; /* bits of what PHASE_START still waits for */
    uint64_t started;   /* ns, for the caller */
    uint64_t announced; /* ns: when it sent its presence */
    struct sm sm;
    struct scram scram;
    char jid[256];
    char token[128]; /* XEP-0484, of an earlier login; "" for none */
    size_t bare_length; /* of the bare JID within `jid` */
};

/* `source` is a number of a source address, or -1 for the system's choice. */
void session_open(struct session *s, struct run *run, unsigned user, enum goal goal, int source,
                  const struct session_handler *handler);
/* Counts an error and closes the connection; `detail` is what the server said. */
void session_fail(struct session *s, const char *what, struct slice detail);
/* The goal is reached. */
void session_is_ready(struct session *s);
/* Of SCRAM or PLAIN, as the options say. */
const char *session_mechanism(const struct session *s);
const EVP_MD *session_hash(const struct session *s);
/* Sends one stanza: counted, and from time to time followed by a request to acknowledge. */
void session_send(struct session *s, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Asks for an acknowledgement of what was sent so far. */
void session_ask(struct session *s);
/* Closes the connection without ending the stream, so that it can be resumed; `over` is not called. */
void session_cut(struct session *s);
/* Ends the stream in order; `over` follows when the server has answered. */
void session_close(struct session *s);

#endif
