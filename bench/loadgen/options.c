#include <arpa/inet.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "run.h"

static const char usage_text[] =
    "usage: loadgen SCENARIO [options]\n"
    "\n"
    "  register     make accounts u0..u(N-1) by XEP-0077; one that exists already counts as made\n"
    "  throughput   --pairs of clients, --window messages in flight each; a delivery releases the next\n"
    "  latency      --rate messages a second over --pairs, whatever the server does; from the due time\n"
    "  login        --conc clients at a time log in completely and leave again\n"
    "  idle         --n clients log in and stay silent; memory of the server per connection\n"
    "  presence     one client with --contacts, all online, changes its presence over and over, or with\n"
    "               --publish an item of a node of its account, which they ask for by their capabilities\n"
    "  hibernate    --n clients log in and lose their connection; memory per session the server keeps\n"
    "  archive      --n owners of --rows each ask for pages of --page, --clients of them at a time; --ask\n"
    "               last: the newest page; with: the newest of one of --peers; all: everything, in order\n"
    "  offline      --messages to a user who is away; time from its presence (--archived: from its first\n"
    "               query of the archive) to the last of them\n"
    "\n"
    "  --host A --port N --domain D   the server, on 127.0.0.0/8 only (127.0.0.1, 5222, localhost)\n"
    "  --direct-tls | --no-tls        instead of STARTTLS\n"
    "  --sha256 | --plain             instead of SCRAM-SHA-1\n"
    "  --sasl2 | --fast               SASL2 with Bind 2 (XEP-0388, 0386), always with --sm; after the first\n"
    "                                 login with a token, in one round trip (XEP-0484)\n"
    "  --resume                       login: clients lose their connection and resume their session\n"
    "  --prefix P --password P        account names P0, P1, ... (u) and the password of all\n"
    "  --first N                      number of the first account used (0)\n"
    "  --server-pid N                 measure CPU and memory of this process and its descendants; may be given\n"
    "                                 again, for the server's database\n"
    "  --sm                           stream management (XEP-0198), <r/> after every --sm-every stanzas (4)\n"
    "  --archived                     the server archives: messages carry its id, the last ones are looked up\n"
    "  --n N --pairs N --window N --contacts N --conc N --rate R --rows N --peers N --page N --clients N\n"
    "  --messages N --ask last|with|all\n"
    "  --seconds S --warmup S         time measured, and before it\n"
    "  --settle S                     idle: quiet time before memory is read\n"
    "  --sources N                    number of source addresses, 127.0.0.1 and up (8)\n"
    "  --timeout S                    what waits longer is an error (60)\n"
    "  --no-coalesce                  one write, hence one TLS record, for each stanza\n"
    "\n"
    "Prints one line of JSON; exit status 0 only if no error was seen.\n";

_Noreturn static void refuse(const char *message)
{
    fprintf(stderr, "loadgen: %s; see loadgen --help\n", message);
    exit(2);
}

enum {
    OPT_HOST = 256, OPT_PORT, OPT_DOMAIN, OPT_DIRECT, OPT_NO_TLS, OPT_SHA256, OPT_PLAIN, OPT_SASL2, OPT_FAST,
    OPT_RESUME, OPT_PREFIX, OPT_PASSWORD, OPT_FIRST, OPT_PID, OPT_N, OPT_PAIRS, OPT_WINDOW, OPT_CONTACTS, OPT_CONC, OPT_RATE,
    OPT_SECONDS, OPT_WARMUP, OPT_SETTLE, OPT_SOURCES, OPT_TIMEOUT, OPT_NO_COALESCE, OPT_SM, OPT_SM_EVERY,
    OPT_ARCHIVED, OPT_PUBLISH, OPT_ROWS, OPT_PEERS, OPT_PAGE, OPT_CLIENTS, OPT_MESSAGES, OPT_ASK, OPT_HELP
};

static const struct option long_options[] = {
    {"host", 1, NULL, OPT_HOST},         {"port", 1, NULL, OPT_PORT},
    {"domain", 1, NULL, OPT_DOMAIN},     {"direct-tls", 0, NULL, OPT_DIRECT},
    {"no-tls", 0, NULL, OPT_NO_TLS},     {"sha256", 0, NULL, OPT_SHA256},
    {"plain", 0, NULL, OPT_PLAIN},       {"prefix", 1, NULL, OPT_PREFIX},
    {"password", 1, NULL, OPT_PASSWORD}, {"first", 1, NULL, OPT_FIRST},
    {"server-pid", 1, NULL, OPT_PID},    {"n", 1, NULL, OPT_N},
    {"pairs", 1, NULL, OPT_PAIRS},       {"window", 1, NULL, OPT_WINDOW},
    {"contacts", 1, NULL, OPT_CONTACTS}, {"conc", 1, NULL, OPT_CONC},
    {"rate", 1, NULL, OPT_RATE},         {"seconds", 1, NULL, OPT_SECONDS},
    {"warmup", 1, NULL, OPT_WARMUP},     {"settle", 1, NULL, OPT_SETTLE},
    {"sources", 1, NULL, OPT_SOURCES},   {"timeout", 1, NULL, OPT_TIMEOUT},
    {"no-coalesce", 0, NULL, OPT_NO_COALESCE}, {"help", 0, NULL, OPT_HELP},
    {"sasl2", 0, NULL, OPT_SASL2},       {"fast", 0, NULL, OPT_FAST},
    {"resume", 0, NULL, OPT_RESUME},
    {"sm", 0, NULL, OPT_SM},             {"sm-every", 1, NULL, OPT_SM_EVERY},
    {"archived", 0, NULL, OPT_ARCHIVED}, {"publish", 0, NULL, OPT_PUBLISH}, {"rows", 1, NULL, OPT_ROWS},
    {"peers", 1, NULL, OPT_PEERS},       {"page", 1, NULL, OPT_PAGE},
    {"clients", 1, NULL, OPT_CLIENTS},   {"messages", 1, NULL, OPT_MESSAGES},
    {"ask", 1, NULL, OPT_ASK},
    {NULL, 0, NULL, 0},
};

static double number(double low, double high)
{
    char *end;
    double value = strtod(optarg, &end);
    if (*end || end == optarg || !(value >= low && value <= high))
        refuse("a number is missing or out of range");
    return value;
}

static unsigned whole(unsigned low, unsigned high)
{
    return (unsigned)number(low, high);
}

static bool take_flag(struct options *o, int option)
{
    switch (option) {
    case OPT_DIRECT: o->security = SECURITY_DIRECT; return true;
    case OPT_NO_TLS: o->security = SECURITY_NONE; return true;
    case OPT_SHA256: o->mechanism = MECHANISM_SHA256; return true;
    case OPT_PLAIN: o->mechanism = MECHANISM_PLAIN; return true;
    case OPT_SASL2: o->way = WAY_SASL2; o->sm = true; return true;
    case OPT_FAST: o->way = WAY_FAST; o->sm = true; return true;
    case OPT_RESUME: o->resume = o->sm = true; return true;
    case OPT_NO_COALESCE: o->coalesce = false; return true;
    case OPT_SM: o->sm = true; return true;
    case OPT_ARCHIVED: o->archived = true; return true;
    case OPT_PUBLISH: o->publish = true; return true;
    case OPT_HELP: fputs(usage_text, stdout); exit(0);
    default: return false;
    }
}

static void take_pid(struct options *o)
{
    unsigned n = 0;
    while (o->server_pids[n] > 0)
        n++;
    if (n == SERVERS_MAX)
        refuse("too many servers");
    o->server_pids[n] = (pid_t)whole(1, 1u << 30);
}

static enum ask what_to_ask(void)
{
    static const char *const names[] = {"last", "with", "all"};
    for (unsigned i = 0; i < 3; i++)
        if (strcmp(optarg, names[i]) == 0)
            return (enum ask)i;
    refuse("--ask is last, with or all");
}

static bool take_text(struct options *o, int option)
{
    switch (option) {
    case OPT_HOST: o->host = optarg; return true;
    case OPT_DOMAIN: o->domain = optarg; return true;
    case OPT_PREFIX: o->prefix = optarg; return true;
    case OPT_PASSWORD: o->password = optarg; return true;
    default: return false;
    }
}

static void take_number(struct options *o, int option)
{
    switch (option) {
    case OPT_PORT: o->port = whole(1, 65535); break;
    case OPT_FIRST: o->first = whole(0, 10000000); break;
    case OPT_PID: take_pid(o); break;
    case OPT_SM_EVERY: o->sm_every = whole(1, 10000); break;
    case OPT_ROWS: o->rows = whole(1, 10000000); break;
    case OPT_PEERS: o->peers = whole(1, 100000); break;
    case OPT_PAGE: o->page = whole(1, 10000); break;
    case OPT_CLIENTS: o->clients = whole(1, 10000); break;
    case OPT_MESSAGES: o->messages = whole(1, 100000); break;
    case OPT_ASK: o->ask = what_to_ask(); break;
    case OPT_N: o->n = whole(1, 1000000); break;
    case OPT_PAIRS: o->pairs = whole(1, 100000); break;
    case OPT_WINDOW: o->window = whole(1, 4096); break;
    case OPT_CONTACTS: o->contacts = whole(1, 100000); break;
    case OPT_CONC: o->concurrency = whole(1, 10000); break;
    case OPT_SOURCES: o->sources = whole(1, 250); break;
    case OPT_RATE: o->rate = number(0.1, 1e6); break;
    case OPT_SECONDS: o->seconds = number(0.1, 86400); break;
    case OPT_WARMUP: o->warmup = number(0, 86400); break;
    case OPT_SETTLE: o->settle = number(0, 86400); break;
    case OPT_TIMEOUT: o->timeout = number(0.1, 86400); break;
    default: refuse("unknown option");
    }
}

/* The generator can flood; it must never reach a machine that did not ask for it. */
static void resolve(struct options *o)
{
    o->address = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons((uint16_t)o->port)};
    if (inet_pton(AF_INET, o->host, &o->address.sin_addr) != 1)
        refuse("--host must be an IPv4 address");
    if (ntohl(o->address.sin_addr.s_addr) >> 24 != 127)
        refuse("only loopback addresses (127.0.0.0/8) are allowed");
}

void options_parse(struct options *o, int argc, char **argv)
{
    *o = (struct options){
        .host = "127.0.0.1", .port = 5222, .domain = "localhost", .prefix = "u", .password = "bench-password",
        .n = 500, .pairs = 50, .window = 16, .contacts = 200, .concurrency = 16, .sources = 8,
        .sm_every = 4, .rows = 1000, .peers = 10, .page = 50, .clients = 1, .messages = 1000,
        .seconds = 10, .warmup = 2, .rate = 500, .settle = 10, .timeout = 60, .coalesce = true,
    };
    int option;
    while ((option = getopt_long(argc, argv, "", long_options, NULL)) != -1)
        if (!take_flag(o, option) && !take_text(o, option))
            take_number(o, option);
    if (optind != argc - 1)
        refuse("exactly one scenario is needed");
    o->scenario = argv[optind];
    if (strlen(o->prefix) > 32 || strlen(o->password) > 64 || strlen(o->domain) > 128)
        refuse("a text is too long");
    if (o->way != WAY_SASL && o->mechanism == MECHANISM_PLAIN)
        refuse("--sasl2 and --fast are with SCRAM");
    resolve(o);
}
