"""Work with stream management (XEP-0198), with archives (XEP-0313), and for those who are away."""

from __future__ import annotations

from bench.population import PEERS, Population
from bench.workload import ARCHIVE_RIVALS, ARCHIVING, MESSAGES_WALL, P50, P99, Figure, Workload, sized

CHATTING = 400
OWNERS, ARCHIVED = 1000, 1000
QUICK_OWNERS, QUICK_ARCHIVED = 20, 205
RESUMABLE, QUICK_RESUMABLE = 2000, 300
OFFLINE = 1000
OFFLINE_ARCHIVED = 500


def _archive_pages(name: str, title: str, text: str, options: str, main: Figure, *also: Figure) -> Workload:
    """Work of reading archives that are there already."""
    return Workload(
        name,
        title,
        f"{OWNERS:,} accounts have {ARCHIVED:,} archived messages each, of {PEERS} conversations, written directly "
        f"into each server's storage in the order of time. 100 of the owners are logged in. {text} "
        "Every row is checked.",
        *sized(
            "archive",
            f"--n 100 --rows {ARCHIVED} --peers {PEERS} {options} --warmup 1 --seconds 6 --timeout 120",
            f"--n {QUICK_OWNERS} --rows {QUICK_ARCHIVED} --peers {PEERS} {options} --warmup 0.5 --seconds 1",
        ),
        main=(main,),
        also=also,
        servers=ARCHIVING,
        population=Population(OWNERS, archived=ARCHIVED),
        quick_population=Population(QUICK_OWNERS, archived=QUICK_ARCHIVED),
    )


def _aims(ratio: float) -> dict[str, float]:
    return dict.fromkeys(ARCHIVE_RIVALS, ratio)


_ARCHIVED_AIMS = {"prosody-archive": 4.0, "prosody-sqlite": 12.0, "ejabberd-sqlite": 12.0}
_PAGES = Figure("pages_per_server_cpu_s", "pages / server CPU s", aims=_aims(3.0))
_PAGES_WALL = Figure("pages_per_s", "pages / s")
_ROWS = Figure("rows_per_server_cpu_s", "rows / server CPU s", aims=_aims(2.0))
_ROWS_WALL = Figure("rows_per_s", "rows / s")
_QUICK_CHAT = "--warmup 1 --seconds 2 --sm"
_MANAGED = (
    "As above, with stream management in every session: clients ask for an acknowledgement after every fourth stanza, "
    "and answer the server's requests."
)
_ALL_ARCHIVED = (
    "Stream management as above; every message goes into two archives, that of its sender and that of its receiver, "
    "which begin empty. Each must carry its archive's id, and the last one of each pair is looked up at the end."
)

MANAGED_WORKLOADS: tuple[Workload, ...] = (
    Workload(
        "sm-16",
        "Stream management, 50 pairs, 16 in flight each",
        _MANAGED,
        *sized("throughput", "--pairs 50 --window 16 --seconds 10 --sm", f"--pairs 20 --window 16 {_QUICK_CHAT}"),
        main=(Figure("msgs_per_server_cpu_s", "messages / server CPU s", aims={"ejabberd": 1.0}),),
        also=(MESSAGES_WALL, P50, P99),
    ),
    Workload(
        "sm-1",
        "Stream management, 200 pairs, one in flight each",
        _MANAGED,
        *sized("throughput", "--pairs 200 --window 1 --seconds 10 --sm", f"--pairs 60 --window 1 {_QUICK_CHAT}"),
        main=(Figure("msgs_per_server_cpu_s", "messages / server CPU s", aims={"ejabberd": 1.0}),),
        also=(MESSAGES_WALL, P50, P99),
    ),
    Workload(
        "resumable",
        f"Memory of {RESUMABLE:,} idle connections with stream management",
        "As the idle TLS connections, and each session could be resumed.",
        *sized(
            "idle", f"--n {RESUMABLE} --conc 32 --settle 8 --sm", f"--n {QUICK_RESUMABLE} --settle 2 --sm"
        ),
        main=(Figure("rss_kb_per_conn", "KiB / connection", 1, more_is_better=False),),
        also=(Figure("rss_mib", "MiB in all", 1, False),),
    ),
    Workload(
        "hibernated",
        f"Memory of {RESUMABLE:,} hibernated sessions",
        "Clients log in, acknowledge what they got, and lose their connection, 100 at a time; the server keeps their "
        "sessions. Growth of its resident memory over the last three quarters of them, so that memory that the "
        "connections leave behind is used again. Then 50 of all ages are resumed.",
        *sized(
            "hibernate", f"--n {RESUMABLE} --conc 32 --settle 8", f"--n {QUICK_RESUMABLE} --settle 2"
        ),
        main=(Figure("rss_kb_per_session", "KiB / session", 1, more_is_better=False),),
        also=(Figure("rss_mib", "MiB in all", 1, False), Figure("resumed", "resumed")),
    ),
    Workload(
        "offline",
        f"{OFFLINE:,} messages to a user who is offline",
        "Without an archive; from its presence to the last message, over and over. `stored` is the sender's part: "
        "until all of them are acknowledged (stream management) and a ping sent behind them is answered.",
        *sized("offline", f"--messages {OFFLINE} --seconds 6 --sm", "--messages 200 --seconds 1 --sm"),
        main=(
            Figure("p50_ms", "ms to the last", 1, more_is_better=False),
            Figure("msgs_per_server_cpu_s", "messages / server CPU s"),
        ),
        also=(Figure("stored_per_server_cpu_s", "stored / server CPU s"), Figure("stored_per_s", "stored / s")),
        population=Population(CHATTING),
        quick_population=Population(CHATTING),
        is_fresh=True,
    ),
    Workload(
        "archived-16",
        "Archived messages, 50 pairs, 16 in flight each",
        _ALL_ARCHIVED,
        *sized(
            "throughput",
            "--pairs 50 --window 16 --seconds 10 --sm --archived",
            f"--pairs 20 --window 16 {_QUICK_CHAT} --archived",
        ),
        main=(Figure("msgs_per_server_cpu_s", "messages / server CPU s", aims=_ARCHIVED_AIMS),),
        also=(MESSAGES_WALL, P50, P99),
        servers=ARCHIVING,
        population=Population(CHATTING),
        quick_population=Population(CHATTING),
        is_fresh=True,
    ),
    Workload(
        "archived-1",
        "Archived messages, 200 pairs, one in flight each",
        _ALL_ARCHIVED,
        *sized(
            "throughput",
            "--pairs 200 --window 1 --seconds 10 --sm --archived",
            f"--pairs 60 --window 1 {_QUICK_CHAT} --archived",
        ),
        main=(Figure("msgs_per_server_cpu_s", "messages / server CPU s", aims=_ARCHIVED_AIMS),),
        also=(MESSAGES_WALL, P50, P99),
        servers=ARCHIVING,
        population=Population(CHATTING),
        quick_population=Population(CHATTING),
        is_fresh=True,
    ),
    Workload(
        "archived-latency",
        "Latency of archived messages at 500 a second",
        "50 pairs, open loop, stream management: a message counts from the time it was due. A server that cannot do "
        "500 a second falls behind ever more.",
        *sized(
            "latency",
            "--pairs 50 --rate 500 --seconds 10 --sm --archived",
            "--pairs 20 --rate 100 --warmup 1 --seconds 2 --sm --archived",
        ),
        main=(P50, Figure("p99_ms", "p99 ms", 2, more_is_better=False, limit=15.0)),
        also=(
            Figure("p999_ms", "p99.9 ms", 2, more_is_better=False),
            Figure("msgs_per_server_cpu_s", "messages / server CPU s"),
        ),
        servers=ARCHIVING,
        population=Population(CHATTING),
        quick_population=Population(CHATTING),
        is_fresh=True,
    ),
    _archive_pages(
        "page-1", "Newest page of the archive, one client at a time", "One asks for its newest 50, then another.",
        "--ask last", _PAGES, _PAGES_WALL, P50, P99,
    ),
    _archive_pages(
        "page-8", "Newest page of the archive, eight clients at a time", "Eight ask for their newest 50 at a time.",
        "--ask last --clients 8", _PAGES, _PAGES_WALL, P50, P99,
    ),
    _archive_pages(
        "page-with", "Newest page of one conversation", "One asks for the newest 50 of one conversation, then another.",
        "--ask with", _PAGES, _PAGES_WALL, P50, P99,
    ),
    _archive_pages(
        "catch-up", "Whole archives, page by page",
        f"One reads its {ARCHIVED:,} from the beginning, 50 a page, each after the last one's id, then another.",
        "--ask all", _ROWS, _ROWS_WALL, Figure("p50_ms", "p50 ms for all", 1, more_is_better=False),
    ),
    Workload(
        "offline-archived",
        f"{OFFLINE_ARCHIVED:,} messages to a user who is away, from the archive",
        "As for the user who is offline, but the client logs in and reads the archive after what it knows, 50 a page.",
        *sized(
            "offline",
            f"--messages {OFFLINE_ARCHIVED} --seconds 4 --sm --archived --timeout 120",
            "--messages 100 --seconds 1 --sm --archived",
        ),
        main=(
            Figure("p50_ms", "ms to the last", 1, more_is_better=False),
            Figure("msgs_per_server_cpu_s", "messages / server CPU s"),
        ),
        also=(Figure("stored_per_server_cpu_s", "stored / server CPU s"), Figure("stored_per_s", "stored / s")),
        servers=ARCHIVING,
        population=Population(CHATTING),
        quick_population=Population(CHATTING),
        is_fresh=True,
    ),
)  # fmt: skip
