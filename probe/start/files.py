"""The three files of a start: dialect, target and a smoke scenario, as text that a person reads.

The rule: what was seen stands as a value with its evidence beside it; what was not stands as a
comment that says what to fill in. No secret is in any of them, only names of variables.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from probe.check.words import counted
from probe.start import toml
from probe.start.seen import filled

if TYPE_CHECKING:
    from collections.abc import Iterator

    from probe.start.drafting import Draft
    from probe.start.runs import RunDraft, Step

KINDS_SHOWN: Final = 20
_PLACES: Final = ("run", "thread", "n", "size", "pad")
SMOKE_CLIENTS: Final = 75  # 59 are the fewest whose 95 % bound can hold "95 % of the clients"
SMOKE_PER_S: Final = 15


@dataclass(frozen=True, slots=True)
class Showing:
    """How a client opens its connection: templates, as `probe.model.dialect.Presentation`."""

    subprotocols: tuple[str, ...] = ()
    headers: dict[str, str] = field(default_factory=dict)
    query: dict[str, str] = field(default_factory=dict)
    cookies: dict[str, str] = field(default_factory=dict)
    first_message: str | None = None

    @property
    def shows_token(self) -> bool:
        """Whether any of it has a place for the token."""
        texts = (*self.subprotocols, *self.headers.values(), *self.query.values())
        texts += (*self.cookies.values(), self.first_message or "")
        return any("{token}" in text for text in texts)


@dataclass(frozen=True, slots=True)
class Speech:
    """What a dialect's file says.

    `selects` is what the service chose of the offers, None where that is not known; `pong`
    whether a ping was answered, None where none was sent.
    """

    title: str
    showing: Showing
    draft: Draft
    selects: str | None = None
    pong: bool | None = None
    notes: tuple[str, ...] = ()

    @property
    def by_answer(self) -> bool:
        """The message and its answer serve as the opening, for want of an id in them."""
        draft = self.draft
        places = filled(draft.asked, dict.fromkeys(_PLACES, ""))[1]
        free = self.showing.first_message is None and draft.run is None
        return bool(draft.answer and free and not places)

    @property
    def unjudged(self) -> bool:
        """A message is sent, and nothing says what its answer is."""
        return bool(self.draft.asked and not (self.draft.echo or self.draft.run or self.by_answer))


def dialect_text(speech: Speech) -> str:
    """`scenarios/dialects/NAME.toml`."""
    parts = [_head(speech), *_left(speech), "\n".join(_top(speech)), "\n".join(_present(speech))]
    draft = speech.draft
    if speech.by_answer:
        why = (
            f"No id tells whose answer {draft.answer!r} is, so the message and its answer count "
            "as the opening: a connection is ready when the answer is there."
        )
        parts.append(f"{toml.comment(why)}\n[ready]\nevent = {toml.quoted(draft.answer)}")
    elif draft.ready is not None:
        seen = f"seen once in the opening of {draft.ready.seen} of {draft.ready.of} sessions"
        parts.append(f"[ready]\nevent = {toml.quoted(draft.ready.kind)} {toml.comment(seen)}")
    else:
        parts.append('# No message said "ready": a connection counts as ready at the 101.')
    parts.append("\n".join(_run(draft.run)) if draft.run else _no_run(speech))
    if draft.types is not None:
        parts.append("\n".join(_paths(draft)))
    parts.append("\n".join(_promises(speech)))
    return "\n\n".join(parts) + "\n"


def _head(speech: Speech) -> str:
    draft = speech.draft
    seen = (
        f"Drafted from {counted(draft.sessions, 'session')}: behind the opening "
        f"{counted(draft.sent, 'message')} sent, in all {draft.received} received. "
        "Correct it: what was seen this often need not be what the service promises."
    )
    return toml.comment(seen)


def _left(speech: Speech) -> Iterator[str]:
    notes = (*speech.notes, *speech.draft.left)
    if notes:
        yield "\n".join(toml.comment(f"Left to you: {note}.") for note in notes)


def _top(speech: Speech) -> Iterator[str]:
    draft = speech.draft
    yield f"title = {toml.quoted(speech.title)}"
    if draft.echo:
        yield f"echo = true # {draft.echoed} of {draft.sent} messages came back unchanged"
        return
    if draft.framing is not None and draft.framing.name != "json":
        read = f"read {draft.framing.read} of {draft.framing.of} messages"
        read = "nothing else reads them" if draft.framing.name == "opaque" else read
        yield f"framing = {toml.quoted(draft.framing.name)} # {read}"
    elif draft.framing is not None and draft.framing.read < draft.framing.of:
        yield f"# Only {draft.framing.read} of {draft.framing.of} messages were JSON objects."
    if draft.prefix:
        yield f"prefix = {toml.quoted(draft.prefix)}"
    if draft.refusals:
        yield f"errors = {toml.listed(draft.refusals)}"


def _present(speech: Speech) -> Iterator[str]:
    showing = speech.showing
    yield "[present.default]"
    if showing.subprotocols:
        yield f"subprotocols = {toml.listed(showing.subprotocols)}"
    if speech.selects is not None and (showing.subprotocols or speech.selects):
        yield f"selects = {toml.quoted(speech.selects)} # the service chose it"
    for name in ("headers", "query", "cookies"):
        if values := getattr(showing, name):
            yield f"{name} = {toml.table(values)}"
    first = showing.first_message
    if speech.by_answer:
        first = speech.draft.asked
    if first is not None:
        yield f"first_message = {toml.quoted(first)}"


def _run(run: RunDraft) -> Iterator[str]:
    whose = "the client's id" if run.named else "an id that the service gave"
    yield toml.comment(
        f"A run is what one message starts: {counted(run.runs, 'run')} seen, in which "
        f"{counted(run.carried, 'message')} carried {whose}."
    )
    yield "[run]"
    yield f"start = {toml.quoted(run.start.template)}"
    seen = [f"in {step.seen} of {run.runs} runs" for step in run.steps]
    yield f"events = {toml.spread(map(_step, run.steps), seen)}"
    if run.ends != run.steps[-1].kind:
        yield f"ends = {toml.quoted(run.ends)}"
    yield toml.comment(f"{run.ends!r} came once in each run, and nothing of the run behind it.")
    yield 'within = "10s"'
    yield 'quiet = "5s"'


def _step(step: Step) -> str:
    plain = step.times == "1" and step.after is None
    if plain:
        return toml.quoted(step.kind)
    parts = [f"type = {toml.quoted(step.kind)}", f"times = {toml.quoted(step.times)}"]
    if step.after is not None:
        parts.append(f"after = {toml.listed(step.after)}")
    return f"{{ {', '.join(parts)} }}"


def _no_run(speech: Speech) -> str:
    if speech.draft.echo or speech.by_answer:
        return "# There are no runs: no message starts events that carry an id."
    return toml.comment(
        "Fill in [run] where one message starts a run of events: `start` with {run} where the "
        "client gives the id, `events` in their order, and below `paths.run`. The shipped "
        "dialect agent_events is a file to copy from."
    )


def _paths(draft: Draft) -> Iterator[str]:
    assert draft.types is not None
    yield "[paths]"
    shown = ", ".join(
        f"{kind} {count}" for kind, count in draft.types.kinds.most_common(KINDS_SHOWN)
    )
    yield toml.comment(f"seen in {draft.types.seen} of {draft.types.of} messages: {shown}")
    yield f"type = {toml.quoted(draft.types.path)}"
    if (run := draft.run) is None:
        return
    yield toml.comment(f"in {counted(run.carried, 'message')}, another in each of {run.runs} runs")
    yield f"run = {toml.quoted(run.path)}"
    if run.thread:
        yield f"thread = {toml.quoted(run.thread)}"
    if run.sequence:
        yield toml.comment("a number that rose in every run")
        yield f"sequence = {toml.quoted(run.sequence)}"


def _promises(speech: Speech) -> Iterator[str]:
    yield "# Only what is promised can be broken; what your service promises beyond this, you know."
    yield "[promises]"
    if speech.pong is False:
        yield "pings = false # a WebSocket ping was not answered (RFC 6455 section 5.5.3 wants it)"
    run = speech.draft.run
    if run is not None and run.sequence and run.counts:
        yield f"# numbered = true # {run.sequence} counted from 1 without holes in {run.runs} runs"
    yield 'recipients = "session" # "user": all connections of a user get the events of its runs'


@dataclass(frozen=True, slots=True)
class Place:
    """A target's file: its parts as lines of TOML that hold no secret."""

    title: str
    name: str
    url: str
    auth: tuple[str, ...] = ()
    health: str = ""
    tls: tuple[str, ...] = ()
    clients_max: int | None = None
    rate_max: str = ""


def target_text(place: Place) -> str:
    """`scenarios/targets/NAME.toml`."""
    parts = [
        f"title = {toml.quoted(place.title)}\ndialect = {toml.quoted(place.name)}",
        f"[endpoints.main]\nurl = {toml.quoted(place.url)}",
    ]
    if place.health:
        parts.append(f"[services.main]\nurl = {toml.quoted(place.health)}")
    else:
        parts.append(
            "# No health was named. With one the preflight asks for it:\n"
            '# [services.main]\n# url = "http://127.0.0.1:8000/health"'
        )
    if place.rate_max:
        parts.append(
            f"[safety]\nmay_load = true\nclients_max = {place.clients_max}\n"
            f"rate_max = {toml.quoted(place.rate_max)}"
        )
    parts += ["\n".join(lines) for lines in (place.auth, place.tls) if lines]
    return "\n\n".join(parts) + "\n"


def scenario_text(speech: Speech, place: Place, per_s: float, connect: str) -> str:
    """`scenarios/NAME.toml`: `per_s` clients each second, `connect` is the limit of its p95."""
    lasts = max(1, -(-SMOKE_CLIENTS // max(per_s, 1e-3)))
    health = ", health = true" if place.health else ""
    lines = [
        f"title = {toml.quoted(f'Smoke of {place.title}')}",
        f"target = {toml.quoted(place.name)}",
        "",
        "[stages.preflight]",
        'activity = "preflight"',
        "gate = true # a FAIL here leaves the rest unrun",
        f"expect = {{ connects = true{health} }}",
        "",
        "[stages.users]",
        'patience = "15s"',
        'expect.success = { rate = "95%" }',
        "expect.definite = true",
        f'expect.latency = [{{ phase = "connect", quantile = "p95", within = "{connect}" }}]',
        *_judged(speech),
        "",
        "[stages.users.populations.users]",
        f'shape = {{ rate = "{per_s:g}/s", lasts = "{lasts:g}s", arrivals = "even" }}',
        *_unjudged(speech),
        f"script = {toml.spread(_script(speech))}",
    ]
    return "\n".join(lines) + "\n"


def _judged(speech: Speech) -> Iterator[str]:
    draft = speech.draft
    if draft.run is not None:
        yield 'expect.runs = { rate = "95%" }'
        yield "expect.isolation = true"
    if draft.types is not None and (draft.run or speech.by_answer or draft.ready):
        yield "expect.contract = true"


def _unjudged(speech: Speech) -> Iterator[str]:
    if speech.unjudged:
        yield "# What answers the message is not judged: the dialect does not know it."


def _script(speech: Speech) -> Iterator[str]:
    draft = speech.draft
    yield '{ do = "connect" }'
    if draft.echo:
        yield f'{{ do = "echo", text = {toml.quoted(draft.asked)} }}'
    elif draft.run is not None:
        yield '{ do = "run" }'
    elif speech.unjudged:
        yield f'{{ do = "send", text = {toml.quoted(draft.asked)} }}'
    if speech.pong:
        yield '{ do = "ping" }'
    yield '{ do = "close" }'
