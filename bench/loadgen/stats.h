/* Latency histogram, CPU and memory of processes, and the JSON line. */
#ifndef LOADGEN_STATS_H
#define LOADGEN_STATS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* Buckets of 1/64 of a power of two: any quantile is right within 1.6 %. */
enum { HISTOGRAM_STEPS = 64, HISTOGRAM_BUCKETS = 64 * 40 };

enum { SERVERS_MAX = 4 }; /* processes measured together: a server and its database */

struct histogram {
    uint64_t count[HISTOGRAM_BUCKETS];
    uint64_t total, max;
};

void histogram_clear(struct histogram *h);
void histogram_add(struct histogram *h, uint64_t ns);
double histogram_ms(const struct histogram *h, double quantile);

/* One reading of the clocks; two of them make a measurement. */
struct usage {
    uint64_t wall;       /* ns */
    double server_cpu;   /* seconds of all threads of the server and its descendants */
    double own_cpu;      /* the generator's */
    double machine_busy; /* of all processes, in ticks of 10 ms */
};

struct memory {
    double rss_kib, pss_kib;
};

/* Of the processes up to the first 0 in `servers`, and of all their descendants. */
struct usage usage_read(const pid_t *servers);
struct memory memory_read(const pid_t *servers);
/* Adds what happened between two readings to `total`, which was {0} at first; for what is measured in pieces. */
void usage_add(struct usage *total, const struct usage *from, const struct usage *to);

void json_open(const char *scenario);
void json_count(const char *key, uint64_t value);
void json_number(const char *key, double value);
void json_text(const char *key, const char *value);
/* elapsed_s, server_cpu_s, and the shares of one core that server, generator and everybody else took. */
void json_usage(const struct usage *from, const struct usage *to, bool with_server);
/* `<name>_per_s` and, where the server's CPU is known, `<name>_per_server_cpu_s`. */
void json_rate(const char *name, uint64_t events, const struct usage *from, const struct usage *to,
               bool with_server);
void json_latency(const struct histogram *h);
void json_close(void);

#endif
