"""Emission: an event of a run is made once and handed to every connection of its user.

It takes its sequence (of the run) and its cursor (of the user) when it is made, is encoded
once, and goes to the log and into the queues. The defects of single events have their
moment here, as the fate of the run or a draw for the event has it; the ledger line of each
is written in the same step of the loop, before a byte of the event goes to a socket.
"""

from __future__ import annotations

import time
import uuid
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from probe.lab.fate import kind_at
from probe.lab.messages import Event, text_frame, timestamp

if TYPE_CHECKING:
    from probe.lab.defects import Defects
    from probe.lab.hub import Hubs, Run
    from probe.lab.ledger import Ledger
    from probe.lab.windows import Firsts

_SHAPES: Final = (
    ("nested_payload", ("payload",)),
    ("data_payload", ("data",)),
    ("mixed_shapes", ("payload", "data")),
)
_CUTS: Final = ("close_1011_midrun", "drop_tcp_midrun")


@dataclass(slots=True)
class Made:
    """An event, None when it was dropped, and the defects in its bytes, not told yet."""

    index: int
    event: Event | None = None
    flaws: list[tuple[str, dict[str, object]]] = field(default_factory=list)


class Emission:
    """Makes events and hands them out."""

    def __init__(self, ledger: Ledger, defects: Defects, hubs: Hubs, firsts: Firsts) -> None:
        self._ledger = ledger
        self._defects = defects
        self._hubs = hubs
        self._firsts = firsts

    def make(self, run: Run, index: int) -> Made:
        """Make the event of that index, and log it, unless it is to be lost."""
        hub, made = run.hub, Made(index)
        kind = kind_at(index, run.fate.thoughts)
        hub.cursor += 1
        run.counts[kind] += 1
        if "drop_event" in run.fate.at(index):
            event = Event(b"", kind, run.asked.run_id, index + 1, hub.cursor)
            self.tell("drop_event", run, event, connections=len(hub.members))
            return made
        run.sent += 1
        frame = self._encode(run, kind, made)
        made.event = Event(frame, kind, run.asked.run_id, index + 1, hub.cursor)
        hub.log.append(made.event)
        return made

    def deliver(self, run: Run, made: Made) -> int:
        """Queue it for every connection of the user; returns how many took it."""
        event = made.event
        if event is None:
            return 0
        marks = run.fate.at(made.index)
        reached = 0
        if "reconnect_ghost" in self._defects and self._vanishes(run, event):
            pass
        elif marks or run.fate.missed:
            reached = self._deliver_marked(run, event, marks)
        else:
            for member in run.hub.members.values():
                if run.only in ("", member.connection_id):
                    reached += member.outbound.put_event(event)
        for defect, more in made.flaws:
            self.tell(defect, run, event, connections=reached, **more)
        if "cross_user_leak" in self._defects:
            self._leak(run, event)
        if marks:
            self._follow(run, event, marks, reached)
        return reached

    def _vanishes(self, run: Run, event: Event) -> bool:
        """Whether the event goes to a connection that is dead, instead of those that live."""
        window = self._defects.window("reconnect_ghost")
        user_id = run.hub.user_id
        if window is None or not run.hub.members:
            return False
        second = self._firsts.since(window, user_id, time.perf_counter_ns())
        if second is None:
            return False
        more = {"connection_id": second.first, "after_ns": second.after_ns}
        self.tell("reconnect_ghost", run, event, connections=len(run.hub.members), **more)
        return True

    def _deliver_marked(self, run: Run, event: Event, marks: frozenset[str]) -> int:
        reached = doubled = 0
        for member in run.hub.members.values():
            if member.connection_id == run.fate.missed:
                if not run.missed_told:
                    run.missed_told = True
                    self.tell("broadcast_misses_one", run, None, connection_id=member.connection_id)
            elif "drop_first_event" in marks and member is run.starter:
                self.tell(
                    "drop_first_event",
                    run,
                    event,
                    connections=1,
                    connection_id=member.connection_id,
                )
            elif "subscribe_race" in marks and member is run.starter:
                more = {"connection_id": member.connection_id, "after_ns": run.early_ns}
                self.tell("subscribe_race", run, event, connections=1, **more)
            elif member.outbound.put_event(event):
                reached += 1
                if "duplicate_event" in marks:
                    doubled += member.outbound.put_event(event)
        if doubled:
            self.tell("duplicate_event", run, event, connections=doubled)
        return reached

    def _follow(self, run: Run, event: Event, marks: frozenset[str], reached: int) -> None:
        """What comes right behind an event that was marked for it."""
        if "late_event" in marks:
            self.tell("late_event", run, event, connections=reached)
        if "event_after_end" in marks:
            extra = self.make(run, run.total)
            assert extra.event is not None
            after = self.deliver(run, extra)
            self.tell("event_after_end", run, extra.event, connections=after)
        for defect in _CUTS:
            if defect in marks and run.starter.connection_id in run.hub.members:
                run.starter.outbound.end(partial(self._cut, defect, run, event))
        if "hung_run" in marks:
            run.hung = True
            self.tell("hung_run", run, event, connections=reached)

    def _cut(self, defect: str, run: Run, event: Event) -> None:
        """End the connection that started the run; all before it is written."""
        starter = run.starter
        self.tell(defect, run, event, connections=1, connection_id=starter.connection_id)
        if defect == "close_1011_midrun":
            starter.close(1011, "internal error")
        else:
            starter.reset()

    def _encode(self, run: Run, kind: str, made: Made) -> bytes:
        asked, marks = run.asked, run.fate.at(made.index)
        fields: dict[str, Any] = {
            "run_id": run.shown_id or asked.run_id,
            "thread_id": asked.thread_id,
            "user_id": run.hub.user_id,
            "sequence": made.index + 1,
            "cursor": run.hub.cursor,
        }
        match kind:
            case "agent_thinking":
                fields["thought"] = asked.thought
            case "tool_executing":
                fields["tool_name"] = "search"
                fields["parameters"] = {"query": asked.message}
            case "tool_completed":
                duration_s = (time.perf_counter_ns() - run.began_ns) / 1e9
                fields |= {"tool_name": "search", "results": {"hits": 1}, "duration": duration_s}
            case "agent_completed":
                fields["result"] = "done"
        if marks:
            _spoil(fields, marks, made)
        head: dict[str, Any] = {"type": kind, "timestamp": timestamp()}
        under = self._shape(run, made)
        return text_frame({**head, **fields} if under is None else {**head, under: fields})

    def _shape(self, run: Run, made: Made) -> str | None:
        """The key under which the fields are to stand, None for none."""
        for defect, keys in _SHAPES:
            if defect not in self._defects:
                continue
            if self._defects.draw(defect, f"{run.number}.{made.index}") is not None:
                key = keys[run.hub.mixed % len(keys)]
                run.hub.mixed += defect == "mixed_shapes"
                made.flaws.append((defect, {"under": key}))
                return key
        return None

    def _leak(self, run: Run, event: Event) -> None:
        draw = self._defects.draw("cross_user_leak", f"{run.number}.{event.sequence - 1}")
        if draw is None:
            return
        others = [one for one in self._hubs.members.values() if one.user_id != run.hub.user_id]
        if not others:
            return
        other = others[draw.pick(len(others), "connection")]
        if other.outbound.put_event(event):
            self.tell(
                "cross_user_leak",
                run,
                event,
                connections=1,
                connection_id=other.connection_id,
                to_user_id=other.user_id,
            )

    def tell(self, defect: str, run: Run, event: Event | None, **more: object) -> None:
        """Tell the ledger what is done now to this run, or to this event of it."""
        ids: dict[str, object] = {"run_id": run.asked.run_id, "user_id": run.hub.user_id}
        if event is not None:
            ids |= {"type": event.kind, "sequence": event.sequence, "cursor": event.cursor}
        self._ledger.hit(defect, **ids, **more)


def _spoil(fields: dict[str, Any], marks: frozenset[str], made: Made) -> None:
    """Put into the fields of an event the defects that it was marked for."""
    if "missing_field" in marks:
        del fields["results"]
        made.flaws.append(("missing_field", {}))
    if "wrong_type" in marks:
        fields["duration"] = str(fields["duration"])
        made.flaws.append(("wrong_type", {}))
    if "inconsistent_ids" in marks:
        fields["thread_id"] = uuid.uuid4().hex
        made.flaws.append(("inconsistent_ids", {"thread_id": fields["thread_id"]}))
    if "mode_differs" in marks:
        made.flaws.append(("mode_differs", {}))
