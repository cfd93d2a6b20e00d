"""`probe init`, step by step: each answer is tried on the service before the next is asked for.

    look      DNS, TCP, TLS, upgrade: as it would be opened, and which subprotocol it takes
    token     from its source, shown as told; and whether it lets clients in without one
    message   sent in several sessions: what answers, and how it is told
    health    asked once

The rule: what is written was seen. What was not becomes a note to the person, on the screen and
in the file; and a service that lets nobody in leaves no file at all.
"""

from __future__ import annotations

import secrets as random_source
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

import uvloop

from probe.auth.present import present
from probe.auth.tokens import Tokens
from probe.clock import now_ns
from probe.engine.exchange import Exchange
from probe.engine.http import HEALTHY, judge_health
from probe.engine.routes import tls_options, user_agent
from probe.errors import AuthError, ConfigError, Problem
from probe.model.dialect import Presentation
from probe.model.reading import build, parse
from probe.model.target import Service, Target
from probe.start.credentials import USERS, Told, showing_of, source_of
from probe.start.drafting import Draft, draft
from probe.start.files import Place, Showing, Speech, target_text
from probe.start.saying import learned, outcome_of, spoken
from probe.start.talk import Bounds, Call, talk
from probe.wire.route import make_context

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from probe.auth.identity import Identity
    from probe.redact import Redactor
    from probe.start.asking import Person
    from probe.start.credentials import Source
    from probe.start.seen import Message
    from probe.start.talk import Talk

S: Final = 1_000_000_000
SESSIONS: Final = USERS
REPEATS: Final = 2
TRIES_MAX: Final = 5
REFUSING: Final = frozenset({401, 403, 1008, 3000, 3003, 4401, 4403})  # HTTP, or a close
TOKEN_NS: Final = 60 * S
NONE: Final = "probe.none"  # offered first: who takes it takes whatever comes first
# A few in one request, since some servers read no further than so many bytes of the header.
KNOWN: Final = (
    ("graphql-transport-ws", "graphql-ws", "mqtt"),
    ("v12.stomp", "v11.stomp", "wamp.2.json"),
    ("actioncable-v1-json", "ocpp1.6", "xmpp"),
)
_SHORT: Final = Bounds(opening_ns=S // 4)
IDLE_TIMES: Final = 4  # of the quiet: with 1 s above the 3 s that graphql-ws gives a client
GOODBYES: Final = frozenset({1000, 1001})  # of an idle connection: no refusal


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the command line says; "" and () where it says nothing, `sends` None."""

    told: Told = field(default_factory=Told)
    ways: tuple[str, ...] = ()
    subprotocols: tuple[str, ...] = ()
    first: str = ""
    sends: tuple[str, ...] | None = None
    answer: str = ""
    health: str | None = None
    bounds: Bounds = field(default_factory=Bounds)


@dataclass(frozen=True, slots=True)
class Tried:
    """What was found out, ready to be written; `connect_ns` is the slowest upgrade seen."""

    speech: Speech
    place: Place
    source: Source
    connect_ns: int


@dataclass(frozen=True, slots=True)
class _Entered:
    """Who was let in, and how."""

    source: Source
    showing: Showing
    place: Place
    target: Target
    identities: list[Identity]
    opened: Talk


class Trial:
    """One start; `known` are the variables that are set, `folder` that of the target's file."""

    def __init__(
        self,
        wanted: Wanted,
        place: Place,
        person: Person,
        redactor: Redactor,
        known: Mapping[str, str],
        folder: Path,
    ) -> None:
        self._wanted = wanted
        self._place = place
        self._person = person
        self._redactor = redactor
        self._known = dict(known)
        self._folder = folder
        self._nonce = random_source.token_hex(3)
        self._slowest_ns = 0
        self._notes: list[str] = []

    def run(self, stdin_token: str = "") -> Tried | None:
        """All steps; None where the service lets nobody in, which has been told by then."""
        wanted = self._wanted
        said = wanted.told != Told() or wanted.ways or stdin_token
        usual = "none" if said else self._look()
        entered = self._enter(stdin_token, usual) if usual else None
        if entered is None:
            return None
        target, showing, identities = entered.target, entered.showing, entered.identities
        if entered.source.kind != "none":
            self._without(target, showing, entered.opened)
        drafted = self._converse(target, showing, identities)
        place = replace(entered.place, health=self._health(target))
        speech = Speech(
            place.title, showing, drafted, _selected(entered.opened, showing, identities[0]),
            entered.opened.pong, tuple(self._notes),
        )  # fmt: skip
        if speech.unjudged and drafted.received:
            note = "what answers the message is not judged: nothing says which answer is whose"
            speech = replace(speech, notes=(*speech.notes, note))
        return Tried(speech, place, entered.source, self._slowest_ns)

    def _enter(self, stdin_token: str, usual: str) -> _Entered | None:
        """Tokens, and how the connection is opened; a person may say it again where it fails."""
        wanted, person, known = self._wanted, self._person, dict(self._known)
        told, ways, offers = wanted.told, wanted.ways, wanted.subprotocols or None
        for _ in range(TRIES_MAX):
            self._known = dict(known)  # without what was typed before and did not do
            try:
                source = source_of(told, person, self._known, stdin_token, usual)
                for value in source.values.values():
                    self._redactor.add(value)
                self._known |= source.values
                offers = self._offers() if offers is None else offers
                showing = showing_of(ways, offers, wanted.first, source, person)
                place = replace(self._place, auth=source.lines)
                target, identities = self._identities(place)
                opened = self._open(target, showing, identities[0])
                if _let_in(opened):
                    return _Entered(source, showing, place, target, identities, opened)
            except ConfigError as error:
                if not person.present:
                    raise
                for problem in error.problems:
                    self._say(str(problem))
            if not person.agrees("Say again how tokens come and how they are shown?"):
                return None
            told, ways, stdin_token = Told(), (), ""
        return None

    # Steps.

    def _look(self) -> str:
        """The address as it is, without a token; where tokens are likely to come from.

        "none" where it lets in whoever has none, "ask" where it refuses those, "" where it is
        not worth going on.
        """
        wanted = self._wanted
        showing = Showing(subprotocols=wanted.subprotocols, first_message=wanted.first or None)
        target = self._target(self._place)
        result = self._talk(target, showing, "", "", bounds=_SHORT)
        self._say(f"look     {outcome_of(result)}")
        if result.end is not None and result.end.code in REFUSING:
            return "ask"
        reached = self._person.present and result.phases
        if not result.answered and not reached:
            self._person.say("nothing is written: no WebSocket service answers there")
            return ""
        return "none"

    def _offers(self) -> tuple[str, ...]:
        """Which subprotocols to offer: as answered, by default what it takes of the known ones."""
        target, taken, answered = self._target(self._place), "", False
        for some in KNOWN:
            result = self._talk(target, Showing(subprotocols=(NONE, *some)), "", "", bounds=_SHORT)
            taken, answered = result.subprotocol, answered or result.opened
            if taken:
                break
        if taken == NONE:
            self._say("offers   it takes whatever subprotocol is offered first, so none is needed")
            taken = ""
        elif taken:
            self._say(
                f"offers   of {sum(map(len, KNOWN))} well-known subprotocols it takes {taken!r}"
            )
        elif not answered:
            self._say("offers   without more than an offer it lets nobody in: not known")
        else:
            self._say(f"offers   it takes none of {sum(map(len, KNOWN))} well-known subprotocols")
        answer = self._person.ask(
            "Subprotocols to offer, separated by commas (empty: none)", "--subprotocol", taken
        )
        return tuple(part.strip() for part in answer.split(",") if part.strip())

    def _open(self, target: Target, showing: Showing, identity: Identity) -> Talk:
        bounds = replace(self._wanted.bounds, idle_ns=IDLE_TIMES * self._wanted.bounds.quiet_ns)
        result = self._talk(
            target, showing, identity.token, identity.user, bounds=bounds, ping=True
        )
        self._say(f"open     {outcome_of(result)}")
        for line in spoken(result.session, self._redactor, self._person.width):
            self._say(f"         {line}")
        if not _let_in(result):
            self._say(
                "         so nobody is let in, and nothing is written; it may want a subprotocol "
                "(--subprotocol), a first message (--first) or a token (--auth, and --present "
                "for how it is shown)"
            )
        elif result.end is not None:
            self._notes.append(f"it closes a connection that says nothing ({result.end.code})")
        return result

    def _without(self, target: Target, showing: Showing, good: Talk) -> None:
        """The control: the same without the token."""
        bounds = self._wanted.bounds
        if not _received(good) or showing.first_message is None:  # as long as the good one
            bounds = replace(bounds, idle_ns=IDLE_TIMES * bounds.quiet_ns)
        result = self._talk(target, showing, "", "", bounds=bounds)
        came, usual = (len(_received(each)) for each in (result, good))
        if not _let_in(result):
            self._say(f"control  without a token: {outcome_of(result)}")
        elif came < usual:
            self._say(f"control  without a token it stays open, with {came} of {usual} messages")
        else:
            self._notes.append("a client without a token is let in as well; see whether it may be")
            self._say("control  without a token it is let in as well")

    def _converse(self, target: Target, showing: Showing, identities: list[Identity]) -> Draft:
        """Messages with their answers; asked again while they tell nothing."""
        sends = self._wanted.sends
        if sends is None:
            sends = self._ask_message("A message to send, as a client would")
        for _ in range(TRIES_MAX):
            drafted = self._try_message(target, showing, identities, sends)
            if not sends or drafted.echo or drafted.run or drafted.answer:
                break
            again = self._ask_message("Another message")
            if not again:
                break
            sends = again
        if not sends and drafted.received:
            self._notes.append("no message was sent, so what answers one is not known (--send)")
        if drafted.refused:
            self._notes.append(f"a message was answered by {drafted.refused!r}: correct it")
        if self._wanted.answer and self._wanted.answer not in self._answers(drafted):
            self._notes.append(f"the answer {self._wanted.answer!r} did not come")
        return drafted

    def _ask_message(self, question: str) -> tuple[str, ...]:
        places = "{run} an id that comes back, {n} a number; empty: none"
        text = self._person.ask(f"{question} ({places})", "--send", "")
        return (text,) if text else ()

    def _try_message(
        self, target: Target, showing: Showing, identities: list[Identity], sends: tuple[str, ...]
    ) -> Draft:
        sessions = []
        for number, identity in enumerate(identities):
            result = self._talk(
                target, showing, identity.token, identity.user, sends * REPEATS, number
            )
            sessions.append(result.session)
            if number == 0:
                for line in spoken(result.session, self._redactor, self._person.width):
                    self._say(f"message  {line}")
            if result.end is not None:
                self._say(f"message  {outcome_of(result)}")
        drafted = draft(sessions)
        for line in learned(drafted):
            self._say(f"learned  {line}")
        return drafted

    def _answers(self, drafted: Draft) -> str:
        kinds = drafted.types.kinds if drafted.types else {}
        return " ".join(kinds) if not drafted.echo else " ".join(self._wanted.sends or ())

    def _health(self, target: Target) -> str:
        """The URL of the health, where it says healthy."""
        url = self._wanted.health
        if url is None:
            url = self._person.ask("URL of its health (empty: none)", "--health", "")
        if not url:
            return ""
        service = build(Service, {"url": url}, "--health")

        async def ask() -> tuple[int, int]:
            exchange = Exchange(user_agent("start"), make_context(tls_options(target.tls)))
            try:
                answer = await exchange.ask("GET", url, service.within, {}, None)
            finally:
                await exchange.close()
            return answer.status, judge_health(service, answer)

        status, state = uvloop.run(ask())
        told = f"HTTP {status}" if status else "no answer"
        if state == HEALTHY:
            self._say(f"health   {told}, healthy")
            return url
        self._say(f"health   {told}, and that is not healthy: left out")
        self._notes.append("its health did not say healthy, and is not in the target's file")
        return ""

    # What the steps are made of.

    def _target(self, place: Place) -> Target:
        origin = "the target"
        return build(Target, parse(target_text(place), origin), origin, self._known)

    def _identities(self, place: Place) -> tuple[Target, list[Identity]]:
        target = self._target(place)

        async def make() -> list[Identity]:
            context = make_context(tls_options(target.tls))
            async with Tokens(
                target.auth, seed=0, redactor=self._redactor, origin="the target",
                folder=self._folder, tls=context,
            ) as tokens:  # fmt: skip
                return await tokens.identities(range(SESSIONS), deadline_ns=now_ns() + TOKEN_NS)

        try:
            made = uvloop.run(make())
        except AuthError as error:
            raise ConfigError(Problem("--auth", "", str(error))) from None
        if target.auth.source != "none":
            self._say(f"token    {target.auth.source}: {len(made[0].token)} characters")
        return target, made

    def _talk(
        self, target: Target, showing: Showing, token: str, user: str,
        sends: tuple[str, ...] = (), number: int = 0, bounds: Bounds | None = None,
        *, ping: bool = False,
    ) -> Talk:  # fmt: skip
        presentation = Presentation(
            subprotocols=showing.subprotocols, headers=showing.headers, query=showing.query,
            cookies=showing.cookies, first_message=showing.first_message,
        )  # fmt: skip
        base = f"probe-{self._nonce}-{number}"
        values = {
            "run": base, "thread": f"{base}-t", "user": user, "n": str(number), "token": token,
            "size": "3", "pad": "0",
        }  # fmt: skip
        shown = present(presentation, token, user, "--present")
        call = Call(
            self._place.url, target, self._redactor, shown, sends, values,
            bounds or self._wanted.bounds, ping,
        )  # fmt: skip
        result = uvloop.run(talk(call))
        self._slowest_ns = max(self._slowest_ns, sum(ns for _, ns in result.phases))
        return result

    def _say(self, text: str) -> None:
        self._person.say(self._redactor.text(text))


def _let_in(result: Talk) -> bool:
    """Open, and left open; or closed as usual after a long silence."""
    end = result.end
    return result.opened and (end is None or (result.idle and end.code in GOODBYES))


def _received(result: Talk) -> list[Message]:
    return [message for message in result.session.messages if not message.sent]


def _selected(result: Talk, showing: Showing, identity: Identity) -> str | None:
    """The template of the subprotocol that was chosen; "" for none, None where none was offered."""
    if not showing.subprotocols:
        return None
    for template in showing.subprotocols:
        filled = template.replace("{token}", identity.token).replace("{user}", identity.user)
        if filled == result.subprotocol:
            return template
    return ""
