"""What it costs to log in: by SASL, by SASL2, with a token, and to go on with a former session."""

from __future__ import annotations

from bench.workload import P50, P99, PLAIN, Figure, Workload, sized

LOGIN_USERS, QUICK_LOGIN_USERS = 400, 150
RIVALS = ("prosody", "ejabberd")


def _login(
    name: str, title: str, text: str, options: str = "", *, servers: tuple[str, ...] = PLAIN, rivals_do: str = ""
) -> Workload:
    """Logins, 16 at a time, each by another account."""
    return Workload(
        name,
        title,
        text,
        *sized(
            "login",
            f"--n {LOGIN_USERS} --conc 16 --seconds 10 {options}",
            f"--n {QUICK_LOGIN_USERS} --conc 16 --seconds 2 {options}",
        ),
        main=(Figure("logins_per_server_cpu_s", "logins / server CPU s", aims=dict.fromkeys(RIVALS, 2.0)),),
        also=(Figure("logins_per_s", "logins / s"), P50, P99),
        servers=servers,
        rivals_do=rivals_do,
    )


_OURS = PLAIN[:1]
_READY = (
    "\"Ready to chat\" is the same for all ways: stream management and carbons are on, the roster was read, the own "
    "presence came back. Then the stream is ended."
)
_THEIRS = "Neither Prosody nor ejabberd of Debian 12 has SASL2: their figures are those of"

LOGIN_WORKLOADS: tuple[Workload, ...] = (
    _login(
        "login",
        "Logins",
        "Connect, STARTTLS (full handshake), SCRAM-SHA-1, bind, carbons, roster, presence and its echo, end "
        "of stream; 16 at a time. The generator keeps salted passwords, as clients do, and checks each server's "
        "signature.",
    ),
    _login(
        "login-ready",
        "Logins, ready to chat: SASL",
        f"As above, with stream management. {_READY}",
        "--sm",
    ),
    _login(
        "login-sasl2",
        "Logins, ready to chat: SASL2 with Bind 2",
        "One `<authenticate/>` with SCRAM-SHA-1, the client's id, and Bind 2 with carbons and stream management "
        f"(XEP-0388, XEP-0386); roster and presence once the success has come. {_THEIRS} SASL.",
        "--sasl2", servers=_OURS, rivals_do="login-ready",
    ),
    _login(
        "login-token",
        "Logins, ready to chat: SASL2 with a token",
        "Each client has a token of an earlier login, which is not measured (XEP-0484, HT-SHA-256-NONE), and sends it "
        "in one flight with the stream header; the server proves that it knows the token. The rest is as with SASL2. "
        f"{_THEIRS} SASL with the password.",
        "--fast", servers=_OURS, rivals_do="login-ready",
    ),
    _login(
        "login-resumed",
        "Sessions resumed: SASL",
        "Clients lose their connection and come back, over and over: connect, STARTTLS (full handshake), SCRAM-SHA-1, "
        "`<resume/>` (XEP-0198 §5), then the connection is lost again.",
        "--resume",
    ),
    _login(
        "login-resumed-token",
        "Sessions resumed: SASL2 with a token",
        "The same with a token and an inline `<resume/>`, in one flight with the stream header (XEP-0198 §9). "
        f"{_THEIRS} SASL with the password.",
        "--fast --resume", servers=_OURS, rivals_do="login-resumed",
    ),
)  # fmt: skip
