/* One run of the generator: what was asked for, the event loop, and the errors seen. */
#ifndef LOADGEN_RUN_H
#define LOADGEN_RUN_H

#include <netinet/in.h>
#include <stdbool.h>
#include <sys/types.h>

#include "conn.h"
#include "scram.h"
#include "stats.h"

enum security { SECURITY_STARTTLS, SECURITY_DIRECT, SECURITY_NONE };
/* What is asked of an archive: its newest page, the newest page of one peer, or all from the beginning. */
enum ask { ASK_LAST, ASK_WITH, ASK_ALL };
/* How a client logs in: RFC 6120, XEP-0388 with the password, or with a token of an earlier login (XEP-0484). */
enum way { WAY_SASL, WAY_SASL2, WAY_FAST };
enum mechanism { MECHANISM_SHA1, MECHANISM_SHA256, MECHANISM_PLAIN };

struct options {
    const char *scenario, *host, *domain, *prefix, *password;
    struct sockaddr_in address;
    enum security security;
    enum mechanism mechanism;
    enum way way;
    pid_t server_pids[SERVERS_MAX + 1]; /* ends with 0; empty: measure no server */
    unsigned port, first, n, pairs, window, contacts, concurrency, sources, sm_every, rows, peers, page, clients, messages;
    double seconds, warmup, rate, settle, timeout;
    bool coalesce;
    bool sm;       /* stream management in every session */
    bool resume;   /* login: the former session goes on instead of a new one */
    bool publish;  /* presence: an item is published instead */
    bool archived; /* every message must be found in the receiver's archive */
    enum ask ask;
};

struct run {
    struct options options;
    struct loop loop;
    struct scram_keys *keys; /* by user number less options.first */
    unsigned users;          /* accounts this scenario uses */
    unsigned long acks; /* <a/> received */
    unsigned long errors;
    char first_error[256];
};

/* Ends the program with a usage text when the command line makes no sense or names another machine. */
void options_parse(struct options *o, int argc, char **argv);

void run_error(struct run *run, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* The fields that every scenario's JSON line ends with, and the line's end. */
void run_close(struct run *run);

typedef void scenario_function(struct run *run);
scenario_function scenario_register, scenario_throughput, scenario_latency, scenario_login, scenario_idle,
    scenario_presence, scenario_hibernate, scenario_archive, scenario_offline;

#endif
