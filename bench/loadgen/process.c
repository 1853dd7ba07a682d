/* What the kernel knows about the server's processes: CPU time and memory. */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "conn.h"
#include "stats.h"

enum { FAMILY_MAX = 4096 };

static pid_t parent_of(pid_t pid)
{
    char path[64], line[512];
    int parent = 0;
    snprintf(path, sizeof path, "/proc/%d/stat", pid);
    FILE *file = fopen(path, "r");
    if (!file)
        return 0;
    if (fgets(line, sizeof line, file)) {
        char *after_name = strrchr(line, ')'); /* the name may hold spaces and parentheses */
        if (after_name && sscanf(after_name + 1, " %*c %d", &parent) != 1)
            parent = 0;
    }
    fclose(file);
    return parent;
}

/* The processes named and all their descendants that live now. */
static unsigned family(const pid_t *roots, pid_t *members)
{
    static pid_t pids[FAMILY_MAX], parents[FAMILY_MAX];
    unsigned n = 0, found = 0;
    DIR *proc = opendir("/proc");
    for (struct dirent *entry; proc && n < FAMILY_MAX && (entry = readdir(proc));) {
        pid_t pid = atoi(entry->d_name);
        if (pid <= 0)
            continue;
        pids[n] = pid;
        parents[n++] = parent_of(pid);
    }
    if (proc)
        closedir(proc);
    for (; found < SERVERS_MAX && roots[found] > 0; found++)
        members[found] = roots[found];
    for (unsigned i = 0; i < found; i++)
        for (unsigned j = 0; j < n && found < FAMILY_MAX; j++)
            if (parents[j] == members[i])
                members[found++] = pids[j];
    return found;
}

static double clock_seconds(clockid_t clock)
{
    struct timespec t;
    return clock_gettime(clock, &t) == 0 ? (double)t.tv_sec + (double)t.tv_nsec / 1e9 : 0;
}

static double busy_ticks(void)
{
    double user = 0, nice = 0, system = 0, idle, wait, irq = 0, soft = 0;
    FILE *file = fopen("/proc/stat", "r");
    if (!file)
        return 0;
    if (fscanf(file, "cpu %lf %lf %lf %lf %lf %lf %lf", &user, &nice, &system, &idle, &wait, &irq, &soft) < 4)
        user = 0;
    fclose(file);
    return user + nice + system + irq + soft;
}

struct usage usage_read(const pid_t *servers)
{
    struct usage u = {.machine_busy = busy_ticks(), .own_cpu = clock_seconds(CLOCK_PROCESS_CPUTIME_ID)};
    if (servers[0] > 0) {
        pid_t members[FAMILY_MAX];
        unsigned n = family(servers, members);
        for (unsigned i = 0; i < n; i++) {
            clockid_t clock; /* of all threads, also those that ended, in nanoseconds */
            if (clock_getcpuclockid(members[i], &clock) == 0)
                u.server_cpu += clock_seconds(clock);
        }
    }
    u.wall = now_ns();
    return u;
}

void usage_add(struct usage *total, const struct usage *from, const struct usage *to)
{
    total->wall += to->wall - from->wall;
    total->server_cpu += to->server_cpu - from->server_cpu;
    total->own_cpu += to->own_cpu - from->own_cpu;
    total->machine_busy += to->machine_busy - from->machine_busy;
}

struct memory memory_read(const pid_t *servers)
{
    struct memory m = {0, 0};
    pid_t members[FAMILY_MAX];
    unsigned n = family(servers, members);
    for (unsigned i = 0; i < n; i++) {
        char path[64], line[256];
        double value;
        snprintf(path, sizeof path, "/proc/%d/smaps_rollup", members[i]);
        FILE *file = fopen(path, "r");
        while (file && fgets(line, sizeof line, file)) {
            if (sscanf(line, "Rss: %lf kB", &value) == 1)
                m.rss_kib += value;
            else if (sscanf(line, "Pss: %lf kB", &value) == 1)
                m.pss_kib += value;
        }
        if (file)
            fclose(file);
    }
    return m;
}
