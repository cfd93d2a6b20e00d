"""Every finding that a judgement can hold, as one table.

`code` is stable. `severity` holds where the finding's check fails. `control` says what
shows that the check can see at all, or "none". `causes` are likely causes by pattern;
"" is the one where no pattern fits. `source` is where the rule stands. A finding that is
not in this table cannot be made.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from probe.check.entries_authentication import AUTHENTICATION
from probe.check.entries_capacity import CAPACITY
from probe.check.entries_delivery import DELIVERY, FAMILIES
from probe.check.entries_negotiation import NEGOTIATION
from probe.check.entries_pressure import PRESSURE
from probe.check.entries_race import OWN, RACES
from probe.check.entries_spike import SPIKE
from probe.check.entry import Entry
from probe.check.verdict import Finding, Witness

if TYPE_CHECKING:
    from collections.abc import Mapping


def _target(cause: str, **more: str) -> Entry:
    causes = {"": cause, **more}
    return Entry("critical", "witness", causes, "docs/methods.md, Verdict")


_RFC: Final = "RFC 6455 section 4.2.2; docs/field.md, Negotiation"
_DEFINITE: Final = "docs/field.md, cold start"
_DEFAULT: Final = "the default presentation is accepted"
_BOOT: Final = (
    "the service accepts upgrades before its dependencies are ready; answer 503 until then"
)
_DOWN: Final = (
    "the old instance lets clients in while it goes down; stop listening first, then let go of "
    "those who are in"
)
_UNIT: Final = "docs/methods.md, Restarts"
_LINES: Final = (
    "the service does not read the second line of Sec-WebSocket-Protocol, or refuses two, though "
    "several are one list (RFC 9110 sections 5.2 and 5.3, RFC 6455 section 11.3.4)"
)

CATALOGUE: Final[Mapping[str, Entry]] = {
    "target.refused": _target(
        "nothing listens at this address and port (the service is down, or the port is wrong), or "
        "something in between refuses"
    ),
    "target.unresolvable": _target(
        "the name has no address: it is misspelt, or this machine's DNS does not know it"
    ),
    "target.unreachable": _target("no route leads there: a network, VPN or firewall is in between"),
    "target.silent": _target(
        "TCP is accepted and nothing is answered: a hung process, a full backlog, a firewall that "
        "drops, or plain WebSocket spoken to a TLS port"
    ),
    "target.tls_unknown_ca": _target(
        "the certificate is signed by an authority that this machine does not trust; give its CA "
        "as tls.ca_file"
    ),
    "target.tls_failed": _target(
        "TLS could not be agreed on: wrong name, expired certificate, or no TLS at this port"
    ),
    "target.no_websocket": _target(
        "there is an HTTP server and no WebSocket at this path: the path, or a proxy that does "
        "not pass on upgrades"
    ),
    "target.unauthorized": _target(
        "the token is not accepted: expired, of another environment, or shown in another way "
        "than the service wants"
    ),
    "target.unavailable": _target(
        "the service says that it is not available: still starting, or a dependency is down"
    ),
    "target.not_http": _target("something else than HTTP answers at this port"),
    "target.bad_upgrade": _target("the answer to the upgrade breaks RFC 6455"),
    "target.closed_at_once": _target(
        "the service accepts upgrades and then closes them: its session set-up fails after the 101 "
        "or refuses the token there",
        unauthorized="the token is not accepted (expired, of another environment, signed with "
        "another key), and is judged only after the 101; or the session set-up fails there",
        internal="the session set-up raises after the 101 (1011 is the server's internal error)",
    ),
    "target.dropped": _target(
        "the peer ends TCP without any HTTP answer: a crash, a proxy without a backend, or TLS "
        "expected at this port"
    ),
    "target.never_ready": _target(
        "the upgrade is accepted and what the dialect calls ready never comes: the handler hangs, "
        "or the dialect names the wrong event"
    ),
    "target.proxy": _target("the proxy did not let the connection through"),
    "target.no_token": _target(
        "the source of tokens gave none: its service is down, or the credentials are wrong"
    ),
    "target.no_restart": _target(
        "the restart command failed, or the target did not come back within its deadline"
    ),
    "health.unhealthy": Entry(
        "critical",
        "witness",
        {
            "": "the service itself says so: a dependency is down, or it is still starting",
            "mute": "the service is down or still starting, or this is not where its health is: "
            "ask the URL by hand",
        },
        "docs/field.md, dependencies",
    ),
    "connect.flaky": Entry(
        "major",
        "witness",
        {
            "": "one endpoint answers differently from one try to the next: several instances, of "
            "which some are broken, or a race in the set-up"
        },
        "docs/methods.md, Verdict",
    ),
    "negotiation.accepted_unsupported": Entry(
        "major",
        "witness",
        {"": "the service does not look at the offer: a client of another protocol gets in"},
        "docs/field.md, subprotocol negotiation",
        _DEFAULT,
    ),
    "negotiation.rejected_supported": Entry(
        "critical",
        "witness",
        {
            "": "no negotiation of subprotocols worked: the service does not know the offer, or a "
            "proxy strips Sec-WebSocket-Protocol",
            "auth": "the service did not accept the token in this presentation",
            "lines": _LINES,
        },
        "docs/field.md, subprotocol negotiation",
        _DEFAULT,
    ),
    "negotiation.wrong_selection": Entry(
        "major",
        "witness",
        {"": "the service picks another subprotocol than the dialect promises", "lines": _LINES},
        _RFC,
        _DEFAULT,
    ),
    "negotiation.none_selected": Entry(
        "major",
        "witness",
        {
            "": "the service accepts without choosing one of the offers, which is legal, and every "
            "browser then fails the connection",
            "lines": _LINES,
        },
        _RFC,
        _DEFAULT,
    ),
    "negotiation.closed_after_accept": Entry(
        "major",
        "witness",
        {
            "": "the offer is judged after the upgrade: a client sees an open connection first; "
            "reject with an HTTP status before it",
            "token": "the token is judged after the upgrade, or the service fails over it there: a "
            "client sees an open connection first; reject with an HTTP status before it",
        },
        "docs/field.md, Negotiation",
        _DEFAULT,
    ),
    "negotiation.no_answer": Entry(
        "major",
        "witness",
        {"": "the service neither accepts nor rejects this offer"},
        "docs/field.md, subprotocol negotiation",
        _DEFAULT,
    ),
    "handshake.violates_rfc": Entry(
        "critical",
        "witness",
        {"": "the server (or a proxy before it) builds its handshake answer wrongly"},
        "RFC 6455 sections 4.1 and 4.2.2",
    ),
    "session.failed": Entry(
        "major",
        "bound",
        {"": "see the step at which most sessions failed"},
        "docs/methods.md, Verdict",
    ),
    "latency.over_limit": Entry(
        "major",
        "bound",
        {"": "the service is slower than its limit at this load"},
        "docs/methods.md, Latency",
    ),
    "restart.slow": Entry(
        "critical", "bound", {"": "the service takes longer to boot than the limit allows"}, _UNIT
    ),
    "restart.never_ready": Entry(
        "critical",
        "bound",
        {"": "the service did not come back: it crashes while booting, or waits for a dependency"},
        _UNIT,
    ),
    "restart.health_lies": Entry(
        "critical",
        "bound",
        {
            "": "health does not look at what WebSockets need: a load balancer sends clients to an "
            "instance that is not ready"
        },
        "docs/field.md, cold start",
        "WebSocket attempts before the switch were seen to fail",
    ),
    "retry.left_out": Entry(
        "major",
        "bound",
        {"": "the service was back too late, or turns clients away that come back all at once"},
        "docs/field.md, retry ladder",
    ),
    "connect.accepted_then_closed": Entry(
        "critical",
        "witness",
        {
            "": "the service accepts the upgrade before it knows whether it can serve it; answer "
            "with an HTTP status instead",
            "boot": _BOOT,
            "down": _DOWN,
        },
        _DEFINITE,
    ),
    "connect.accepted_then_silent": Entry(
        "critical",
        "witness",
        {
            "": "the service accepts the upgrade and its handler hangs: a wait without a deadline",
            "boot": _BOOT,
            "down": _DOWN,
        },
        _DEFINITE,
    ),
    "connect.no_answer": Entry(
        "critical",
        "witness",
        {
            "": "the connection is taken and never answered: a blocked loop, or a queue that grows",
            "boot": "the port is open before anything reads from it; listen only when ready",
        },
        _DEFINITE,
    ),
    "connect.dropped": Entry(
        "critical",
        "witness",
        {
            "": "the connection is ended without an HTTP answer: a crash, or a proxy that lost its "
            "backend",
            "boot": "the service drops connections while it boots; answer 503 until then",
            "down": _DOWN,
        },
        _DEFINITE,
    ),
    **AUTHENTICATION,
    **DELIVERY,
    **NEGOTIATION,
    **PRESSURE,
    **RACES,
    **CAPACITY,
    **SPIKE,
}


def entry_of(code: str) -> Entry:
    """The row of a code; of a family where it ends in a name of the dialect or the scenario."""
    if code in CATALOGUE:
        return CATALOGUE[code]
    for start, entry in (*FAMILIES.items(), *OWN.items()):
        if code.startswith(start):
            return entry
    raise KeyError(code)


def finding(
    code: str,
    check: str,
    count: int,
    message: str,
    *,
    witness: tuple[Witness, ...] = (),
    pattern: str = "",
) -> Finding:
    """A finding of the table; `pattern` chooses among its causes."""
    entry = entry_of(code)
    return Finding(
        code=code,
        severity=entry.severity,
        evidence=entry.evidence,
        count=count,
        message=message,
        cause=entry.causes.get(pattern, entry.causes[""]),
        witness=witness,
        check=check,
    )
