/* A load generator for any XMPP server.  See README.md one folder up, and `loadgen --help`. */
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#include "run.h"

static const struct {
    const char *name;
    scenario_function *run;
} scenarios[] = {
    {"register", scenario_register}, {"throughput", scenario_throughput}, {"latency", scenario_latency},
    {"login", scenario_login},       {"idle", scenario_idle},             {"presence", scenario_presence},
    {"hibernate", scenario_hibernate}, {"archive", scenario_archive},     {"offline", scenario_offline},
};

void run_error(struct run *run, const char *format, ...)
{
    char text[sizeof run->first_error];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (run->errors == 0)
        memcpy(run->first_error, text, sizeof text);
    if (run->errors < 10)
        fprintf(stderr, "loadgen: %s\n", text);
    run->errors++;
}

void run_close(struct run *run)
{
    if (run->options.sm)
        json_count("acks", run->acks);
    json_count("errors", run->errors);
    if (run->errors)
        json_text("first_error", run->first_error);
    json_close();
}

int main(int argc, char **argv)
{
    struct run run = {0};
    options_parse(&run.options, argc, argv);
    scenario_function *scenario = NULL;
    for (size_t i = 0; i < sizeof scenarios / sizeof *scenarios; i++)
        if (strcmp(scenarios[i].name, run.options.scenario) == 0)
            scenario = scenarios[i].run;
    if (!scenario) {
        fprintf(stderr, "loadgen: no scenario %s; see loadgen --help\n", run.options.scenario);
        return 2;
    }
    signal(SIGPIPE, SIG_IGN);
    prctl(PR_SET_TIMERSLACK, 1000UL); /* the default of 50 us would show in the latencies */
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max;
        setrlimit(RLIMIT_NOFILE, &files);
    }
    loop_init(&run.loop, run.options.coalesce);
    scenario(&run);
    return run.errors ? 1 : 0;
}
