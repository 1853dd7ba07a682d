#include "stats.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

void histogram_clear(struct histogram *h)
{
    memset(h, 0, sizeof *h);
}

void histogram_add(struct histogram *h, uint64_t ns)
{
    unsigned bucket;
    if (ns < HISTOGRAM_STEPS) {
        bucket = (unsigned)ns;
    } else {
        unsigned power = 63u - (unsigned)__builtin_clzll(ns); /* >= 6 */
        bucket = (power - 5) * HISTOGRAM_STEPS + (unsigned)((ns >> (power - 6)) & (HISTOGRAM_STEPS - 1));
    }
    if (bucket >= HISTOGRAM_BUCKETS)
        bucket = HISTOGRAM_BUCKETS - 1;
    h->count[bucket]++;
    h->total++;
    if (ns > h->max)
        h->max = ns;
}

static double bucket_ns(unsigned bucket)
{
    if (bucket < HISTOGRAM_STEPS)
        return bucket;
    unsigned power = bucket / HISTOGRAM_STEPS + 5;
    return ldexp(1 + (bucket % HISTOGRAM_STEPS + 0.5) / HISTOGRAM_STEPS, (int)power);
}

double histogram_ms(const struct histogram *h, double quantile)
{
    uint64_t wanted = (uint64_t)ceil(quantile * (double)h->total), seen = 0;
    if (h->total == 0)
        return 0;
    for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++) {
        seen += h->count[i];
        if (seen >= wanted && seen > 0)
            return fmin(bucket_ns(i), (double)h->max) / 1e6;
    }
    return (double)h->max / 1e6;
}

static bool first_field;

static void key_text(const char *key)
{
    printf("%s\"%s\": ", first_field ? "" : ", ", key);
    first_field = false;
}

void json_open(const char *scenario)
{
    first_field = true;
    printf("{");
    json_text("scenario", scenario);
}

void json_count(const char *key, uint64_t value)
{
    key_text(key);
    printf("%llu", (unsigned long long)value);
}

void json_number(const char *key, double value)
{
    key_text(key);
    printf(isfinite(value) ? "%.4f" : "null", value);
}

void json_text(const char *key, const char *value)
{
    key_text(key);
    putchar('"');
    for (; *value; value++) {
        if (*value == '"' || *value == '\\')
            printf("\\%c", *value);
        else
            putchar((unsigned char)*value < ' ' ? ' ' : *value);
    }
    putchar('"');
}

static double seconds(const struct usage *from, const struct usage *to)
{
    return (double)(to->wall - from->wall) / 1e9;
}

void json_usage(const struct usage *from, const struct usage *to, bool with_server)
{
    double elapsed = seconds(from, to), own = to->own_cpu - from->own_cpu;
    double server = with_server ? to->server_cpu - from->server_cpu : 0;
    double busy = (to->machine_busy - from->machine_busy) / 100;
    json_number("elapsed_s", elapsed);
    json_number("gen_cpu_share", own / elapsed);
    if (with_server) {
        json_number("server_cpu_s", server);
        json_number("server_cpu_share", server / elapsed);
        json_number("other_cpu_share", fmax(0, busy - own - server) / elapsed);
    }
}

void json_rate(const char *name, uint64_t events, const struct usage *from, const struct usage *to,
               bool with_server)
{
    char key[64];
    snprintf(key, sizeof key, "%s_per_s", name);
    json_number(key, (double)events / seconds(from, to));
    if (with_server) {
        snprintf(key, sizeof key, "%s_per_server_cpu_s", name);
        json_number(key, (double)events / (to->server_cpu - from->server_cpu));
    }
}

void json_latency(const struct histogram *h)
{
    json_number("p50_ms", histogram_ms(h, 0.5));
    json_number("p99_ms", histogram_ms(h, 0.99));
    json_number("p999_ms", histogram_ms(h, 0.999));
    json_number("max_ms", (double)h->max / 1e6);
}

void json_close(void)
{
    printf("}\n");
    fflush(stdout);
}
