"""What is measured: the generator's scenarios with their sizes, and which of their figures are reported."""

from __future__ import annotations

from bench.login_workloads import LOGIN_WORKLOADS
from bench.managed_workloads import MANAGED_WORKLOADS
from bench.population import Population
from bench.workload import MESSAGES_WALL, P50, P99, WITH_LIMITS, Figure, Workload, sized

IDLE_CONNECTIONS = 5000
CONTACTS = 200
QUICK_IDLE_CONNECTIONS = 300
QUICK_CONTACTS = 40
ONLINE = 2000
ONLINE_CONTACTS = 50
QUICK_ONLINE = 200
COLD_ACCOUNTS = 100_000
QUICK_COLD_ACCOUNTS = 500

_MESSAGES = Figure("msgs_per_server_cpu_s", "messages / server CPU s", aims={"prosody": 1.5, "ejabberd": 1.0})

WORKLOADS: tuple[Workload, ...] = (
    Workload(
        "throughput-16",
        "Chat messages, 50 pairs, 16 in flight each",
        "50 clients write to 50 others, TLS; a delivery releases the next message (about 300 bytes). What is "
        "ready together is written together, by the generator as by a busy client.",
        *sized(
            "throughput",
            "--pairs 50 --window 16 --seconds 10",
            "--pairs 20 --window 16 --seconds 2 --warmup 1",
        ),
        main=(_MESSAGES,),
        also=(MESSAGES_WALL, P50, P99),
        servers=WITH_LIMITS,
    ),
    Workload(
        "throughput-1",
        "Chat messages, 200 pairs, one in flight each",
        "The sterner case: one read, one TLS record and one write for every message, as with many clients "
        "that each say little.",
        *sized(
            "throughput",
            "--pairs 200 --window 1 --seconds 10",
            "--pairs 50 --window 1 --seconds 2 --warmup 1",
        ),
        main=(_MESSAGES,),
        also=(MESSAGES_WALL, P50, P99),
    ),
    Workload(
        "latency",
        "Latency at 500 messages a second",
        "50 pairs, open loop: a message counts from the time it was due, so a stall is not hidden.",
        *sized("latency", "--pairs 50 --rate 500 --seconds 10", "--pairs 20 --rate 200 --seconds 2 --warmup 1"),
        main=(P50, P99),
        also=(
            Figure("p999_ms", "p99.9 ms", 2, more_is_better=False),
            Figure("msgs_per_server_cpu_s", "messages / server CPU s"),
        ),
    ),
    *LOGIN_WORKLOADS,
    Workload(
        "presence",
        f"Presence to {CONTACTS} contacts",
        "One user with mutual contacts, all online, changes its presence; the next change waits until all were told.",
        *sized(
            "presence",
            f"--first {IDLE_CONNECTIONS} --contacts {CONTACTS} --seconds 10",
            f"--first {QUICK_IDLE_CONNECTIONS} --contacts {QUICK_CONTACTS} --seconds 2 --warmup 1",
        ),
        main=(Figure("deliveries_per_server_cpu_s", "deliveries / server CPU s", aims={"ejabberd": 1.0}),),
        also=(Figure("deliveries_per_s", "deliveries / s"), P50, P99),
    ),
    Workload(
        "publish",
        f"A publication to {CONTACTS} interested contacts",
        "One user publishes small items, one after the other, at a node of its account (XEP-0163); mutual contacts, "
        "all online, ask for it by their capabilities. The next item waits until all were told. A server that tells "
        "somebody twice is given credit for both.",
        *sized(
            "presence",
            f"--publish --first {IDLE_CONNECTIONS} --contacts {CONTACTS} --seconds 10",
            f"--publish --first {QUICK_IDLE_CONNECTIONS} --contacts {QUICK_CONTACTS} --seconds 2 --warmup 1",
        ),
        main=(
            Figure("deliveries_per_server_cpu_s", "deliveries / server CPU s", aims={"prosody": 3.0, "ejabberd": 1.0}),
        ),
        also=(Figure("deliveries_per_s", "deliveries / s"), P50, P99, Figure("duplicates", "told twice", 0)),
    ),
    Workload(
        "idle",
        f"Memory of {IDLE_CONNECTIONS:,} idle TLS connections",
        "Growth of the server's resident memory per connection: each its own account, logged in, presence "
        "sent, roster read; measured 10 s after the last one came. The first 50 are not counted (what is "
        "loaded once).",
        *sized(
            "idle",
            f"--n {IDLE_CONNECTIONS} --conc 32 --settle 10",
            f"--n {QUICK_IDLE_CONNECTIONS} --settle 2",
        ),
        main=(Figure("rss_kb_per_conn", "KiB / connection", 1, more_is_better=False, aims={"prosody": 0.6}),),
        also=(
            Figure("rss_mib", "MiB in all", 1, False),
            Figure("connect_all_s", "s until all are in", 1, False),
        ),
    ),
    Workload(
        "online",
        f"Memory of {ONLINE:,} online accounts with {ONLINE_CONTACTS} contacts",
        f"As before, but each account has {ONLINE_CONTACTS} mutual contacts, who all come online too: rosters, and "
        "presence to all of them at each login.",
        *sized("idle", f"--n {ONLINE} --conc 16 --settle 10", f"--n {QUICK_ONLINE} --settle 2"),
        main=(Figure("rss_kb_per_conn", "KiB / account", 1, more_is_better=False),),
        also=(
            Figure("rss_mib", "MiB in all", 1, False),
            Figure("connect_all_s", "s until all are in", 1, False),
            Figure("server_cpu_s", "server CPU s", 1, False),
        ),
        population=Population(ONLINE, ONLINE_CONTACTS),
        quick_population=Population(QUICK_ONLINE, ONLINE_CONTACTS),
    ),
    Workload(
        "cold-start",
        f"Cold start with {COLD_ACCOUNTS:,} accounts",
        "From the start of the program to the first answer on its port; the database holds the accounts, without "
        "contacts. The files are in the system's cache. Then two of them log in.",
        *sized("idle", "--n 2 --settle 2", "--n 2 --settle 1"),
        main=(Figure("start_s", "s to the first answer", 2, more_is_better=False),),
        also=(Figure("rss_mib", "MiB then", 1, False),),
        population=Population(COLD_ACCOUNTS),
        quick_population=Population(QUICK_COLD_ACCOUNTS),
    ),
    *MANAGED_WORKLOADS,
)


def accounts_needed(quick: bool) -> int:
    """Accounts that the workloads use: idle (shared with messages and logins), then those of presence."""
    return QUICK_IDLE_CONNECTIONS + QUICK_CONTACTS + 1 if quick else IDLE_CONNECTIONS + CONTACTS + 1
