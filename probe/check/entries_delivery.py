"""Findings about what came to whom: delivery of events, isolation, contract, replay.

Rows of the table of `catalogue`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from probe.check.entry import Entry

if TYPE_CHECKING:
    from collections.abc import Mapping

_DELIVERY: Final = "docs/field.md, lost events; docs/methods.md, Delivery"
_METHODS: Final = "docs/methods.md, Delivery"
_SENTINEL: Final = "the session proved that it lived after the events were due"
_IDS: Final = "events of a session's own runs were told by their ids"
_CONTRACT: Final = "docs/field.md, the service; docs/methods.md, Contract"
_FIRST: Final = (
    "events are sent before the client's connection is registered for them: attach the handler "
    "first, then start the run"
)

DELIVERY: Final[Mapping[str, Entry]] = {
    "delivery.lost": Entry(
        "critical",
        "absence",
        {
            "": "events are lost between the agent and the socket: a queue that drops, an "
            "exception that is swallowed, or a send to a connection that was replaced",
            "first": _FIRST,
            "type": "one kind of event is lost on its own way: look at where it is emitted",
            "reconnect": "after a reconnect events still go to the old connection",
            "endpoint": "the handler behind this endpoint drops events that the others deliver",
        },
        _DELIVERY,
        _SENTINEL,
    ),
    "delivery.duplicated": Entry(
        "major",
        "absence",
        {
            "": "an event is sent twice: two subscriptions of one connection, or a retry without "
            "a key that tells what was sent",
            "reconnect": "after a reconnect events are sent again that had arrived",
        },
        _METHODS,
    ),
    "delivery.reordered": Entry(
        "major",
        "absence",
        {"": "events of one run are sent by more than one task, without an order"},
        _METHODS,
    ),
    "delivery.numbers": Entry(
        "major",
        "absence",
        {
            "": "events of one run are numbered by more than one counter, or by one that is not "
            "the run's own, or not at all"
        },
        _METHODS,
    ),
    "delivery.late": Entry(
        "major",
        "absence",
        {"": "the run pauses, or is slower than the dialect allows"},
        "docs/field.md, hung agent; docs/methods.md, Delivery",
    ),
    "delivery.unexpected": Entry(
        "major",
        "absence",
        {
            "": "the run goes on in the background after it has told its end",
            "nameless": "an event is sent from where the run is not known: no client can tell "
            "what it belongs to",
            "stranger": "events are sent to more connections than the one that asked for them",
        },
        _METHODS,
    ),
    "delivery.phantom": Entry(
        "major",
        "absence",
        {"": "a run that was refused is carried out all the same"},
        _METHODS,
    ),
    "delivery.unknown": Entry(
        "info",
        "absence",
        {
            "": "runs were cut off before their events were due: give the stage more patience, or "
            "let scripts wait and settle before they close"
        },
        _METHODS,
    ),
    "run.hung": Entry(
        "critical",
        "absence",
        {
            "": "the agent waits for something without a deadline, or has died without a word",
            "start": "the start of a run is taken and never acted upon",
        },
        "docs/field.md, hung agent; docs/methods.md, Delivery",
        _SENTINEL,
    ),
    "replay.lost": Entry(
        "critical",
        "absence",
        {
            "": "the log that is replayed has holes: too short, written after the event is sent, "
            "or read past what was being written"
        },
        "docs/field.md, lost events; docs/methods.md, Delivery",
        "events came after the reconnect",
    ),
    "replay.none": Entry(
        "critical",
        "absence",
        {
            "": "nothing is replayed: the log is kept with the connection and dies with it, or the "
            "position that the client shows is not understood"
        },
        "docs/field.md, lost events; docs/methods.md, Delivery",
        "the session was ready again and lived on",
    ),
    "broadcast.missed": Entry(
        "critical",
        "absence",
        {
            "": "the user's connections are kept in one place that holds only some of them: one "
            "per user, or one list per process"
        },
        "docs/field.md, multi-client; docs/methods.md, Delivery",
        "the session that began the run got the event",
    ),
    "isolation.foreign": Entry(
        "critical",
        "witness",
        {
            "": "events are sent by something that two users share: a global queue, a reused "
            "connection id, or a registry keyed by less than the user"
        },
        "docs/field.md, isolation; docs/methods.md, Delivery",
        _IDS,
    ),
    "contract.malformed": Entry(
        "critical",
        "witness",
        {"": "messages are put together by hand, cut, or sent in another framing"},
        _CONTRACT,
    ),
    "contract.missing_field": Entry(
        "critical",
        "witness",
        {"": "the producer leaves out what clients need: an optional value was empty"},
        _CONTRACT,
    ),
    "contract.wrong_type": Entry(
        "major",
        "witness",
        {"": "the producer formats a value that clients compute with"},
        _CONTRACT,
    ),
    "contract.wrong_value": Entry(
        "major",
        "witness",
        {"": "the producer sends a value that the contract excludes"},
        _CONTRACT,
    ),
    "contract.unknown_type": Entry(
        "minor",
        "witness",
        {"": "the service sends a message that its clients do not know"},
        _CONTRACT,
    ),
    "contract.ids_disagree": Entry(
        "critical",
        "witness",
        {"": "ids are taken from something that concurrent runs share"},
        "docs/field.md, inconsistent ids; docs/methods.md, Contract",
    ),
    "contract.shape.flat": Entry(
        "major",
        "witness",
        {"": "a producer sends fields flat where the contract nests them"},
        _CONTRACT,
    ),
    "contract.shape.nested": Entry(
        "major",
        "witness",
        {"": "a producer nests the fields of an event where the contract has them flat"},
        _CONTRACT,
    ),
    "contract.shape.data": Entry(
        "major",
        "witness",
        {"": "a producer puts the fields of an event under data, as an older version did"},
        _CONTRACT,
    ),
    "contract.shape.mixed": Entry(
        "major",
        "witness",
        {"": "several producers send the same event in shapes of their own"},
        _CONTRACT,
    ),
}
FAMILIES: Final[Mapping[str, Entry]] = {
    "contract.shape.": Entry(
        "major",
        "witness",
        {"": "a producer sends events in a shape that is not the canonical one"},
        _CONTRACT,
    ),
}
"""Codes that end in a name of the dialect, by what they begin with."""
