"""What one ready connection is answered: start_agent, ping, resume, refresh, errors, the limit.

Each message costs one token of the user's budget, whatever it says; over the budget it is
not processed and the client is told when to try again. Every answer goes through the
outbound queue, so a pong comes behind all that was queued before its ping was read. Where
messages have to pass the lab's capacity, one may be answered before another that came first.
"""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING, Any

from probe.lab.capacity import STOPPING
from probe.lab.messages import (
    MessageError,
    known_ids,
    notice,
    read,
    read_after,
    read_id,
    read_run,
)

if TYPE_CHECKING:
    from aiohttp import WSMessage

    from probe.lab.capacity import Work
    from probe.lab.hub import Hub, Member
    from probe.lab.messages import Event
    from probe.lab.state import State
    from probe.lab.tenure import Tenure


class Dialogue:
    """The answers to one member of a hub; `replayed` and `limited` count them."""

    def __init__(self, state: State, hub: Hub, member: Member, tenure: Tenure) -> None:
        self._state = state
        self._hub = hub
        self._member = member
        self._tenure = tenure
        self._ids = {"user_id": member.user_id, "connection_id": member.connection_id}

    def answer(self, message: WSMessage) -> None:
        """Serve one message of the client."""
        request: dict[str, Any] = {}
        problem: MessageError | None = None
        try:
            request = read(message)
        except MessageError as error:
            problem = error
        if self._is_lost_behind_refresh(request):
            return None
        wait_ns = self._wait_ns()
        if wait_ns:
            return self._limit(request, wait_ns)
        self._tenure.note_message()
        work: Work = "runs" if request.get("type") == "start_agent" else "messages"
        if not self._state.station.takes(work):
            return self._answer_now(request, problem)
        return self._state.station.enter(
            work,
            partial(self._answer_now, request, problem),
            partial(self._refuse, request),
            **self._ids,
            **known_ids(request, "id", "run_id"),
        )

    def _answer_now(self, request: dict[str, Any], problem: MessageError | None) -> None:
        try:
            if problem is not None:
                raise problem
            if self._member.connection_id in self._hub.members:  # it may have had to wait
                self._serve(request)
        except MessageError as error:
            self._say("error", {"code": error.code, **known_ids(request, "run_id")})

    def _refuse(self, request: dict[str, Any], code: str) -> None:
        if code != STOPPING:  # then there is a Close to tell that
            self._say("error", {"code": code, **known_ids(request, "id", "run_id")})

    def _serve(self, request: dict[str, Any]) -> None:
        match request["type"]:
            case "start_agent":
                self._state.runs.start(self._hub, self._member, read_run(request))
            case "ping":
                name = read_id(request, "id")
                self._say("pong", {} if name is None else {"id": name})
            case "resume":
                self._resume(read_after(request))
            case "refresh":
                self._refresh(request)
            case "authenticate":
                raise MessageError("already_authenticated")
            case _:
                raise MessageError("unknown_type")

    def _refresh(self, request: dict[str, Any]) -> None:
        """Take a new token, or go on with the old one."""
        window = self._state.defects.window("refresh_race")
        if window is not None:
            connection_id = self._member.connection_id
            self._state.firsts.begin(window, connection_id, time.perf_counter_ns())
        if self._state.defects.hits("refresh_drops_session"):
            self._state.ledger.hit("refresh_drops_session", **self._ids)
            return self._tenure.end_now(1008, "refresh failed")
        token = request.get("token")
        if not isinstance(token, str) or not self._tenure.renew(token):
            raise MessageError("refresh_refused")
        return self._say("refreshed", {})

    def _is_lost_behind_refresh(self, request: dict[str, Any]) -> bool:
        window = self._state.defects.window("refresh_race")
        if window is None:
            return False
        now_ns = time.perf_counter_ns()
        second = self._state.firsts.since(window, self._member.connection_id, now_ns)
        if second is None:
            return False
        told = {**self._ids, **known_ids(request, "id", "run_id")}
        self._state.ledger.hit("refresh_race", after_ns=second.after_ns, **told)
        return True

    def _wait_ns(self) -> int:
        """0 when a message is within the budget, else how long until one is."""
        now_ns = time.perf_counter_ns()
        own_ns = self._hub.bucket.take(now_ns)
        if self._state.defects.is_on("limit_resets_at_edge"):
            due_ns, own_ns = own_ns, self._hub.window.take(now_ns)
            if due_ns and not own_ns:
                self._state.ledger.hit("limit_resets_at_edge", **self._ids)
        if not self._state.defects.is_on("rate_limit_global"):
            return own_ns
        shared_ns = self._state.hubs.shared.take(now_ns)
        if shared_ns and not own_ns:
            self._state.ledger.hit("rate_limit_global", **self._ids)
        return shared_ns

    def _limit(self, request: dict[str, Any], wait_ns: int) -> None:
        self._member.limited += 1
        named = known_ids(request, "id", "run_id")
        if self._state.defects.hits("rate_limit_silent"):
            self._state.ledger.hit("rate_limit_silent", **self._ids, **named)
        else:
            self._say("rate_limited", {"retry_after_ms": -(-wait_ns // 1_000_000), **named})

    def _resume(self, after: int) -> None:
        events = self._hub.missed(self._member, after)
        lost = self._state.defects.draw("lost_on_reconnect")
        kept = events
        if self._state.defects.hits("no_replay") and events:
            self._state.ledger.hit("no_replay", **self._ids, after=after, replayable=len(events))
            events = kept = []
        elif lost is not None and events:
            index = lost.pick(len(events), "event")
            kept = events[:index] + events[index + 1 :]
            self._tell_lost(events[index])
        self._say("resumed", {"after": after, "replayed": len(events)})
        self._member.replayed += len(kept)
        self._member.outbound.replay(kept)

    def _tell_lost(self, event: Event) -> None:
        self._state.ledger.hit(
            "lost_on_reconnect",
            run_id=event.run_id,
            type=event.kind,
            sequence=event.sequence,
            cursor=event.cursor,
            connections=1,
            **self._ids,
        )

    def _say(self, kind: str, fields: dict[str, object]) -> None:
        self._member.outbound.put(notice(kind, fields))
