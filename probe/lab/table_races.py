"""Defects that are windows in time: what happens only when two things come close together.

Rows of the table of `table`.
"""

from __future__ import annotations

from typing import Final

from probe.lab.defect import Defect

RACES: Final = (
    Defect(
        "auth_after_accept",
        "101 and connection_ready come before the token is judged: at the end of the window, a "
        "bad one is then closed with 1008; what is said inside the window is served unjudged",
        "window",
        "50ms",
        drawn="message of a session with a bad token, from its 101 on",
    ),
    Defect(
        "auth_drops_early_frames",
        "connection_ready comes only at the end of the window; messages inside it are thrown away",
        "window",
        "50ms",
        drawn="message, from the 101 on",
    ),
    Defect(
        "token_reuse_race",
        "a second session with the same token is accepted with 101 and then told nothing, no "
        "message and no pong",
        "window",
        "50ms",
        drawn="authentication, from the one before with that token on",
    ),
    Defect(
        "revoked_lingers",
        "a revoked token still gets in, and its open sessions live on to the end of the window",
        "window",
        "1s",
        drawn="handshake or open session, from the revocation on",
    ),
    Defect(
        "refresh_drops_session",
        "a refresh is answered by close 1008",
        drawn="refresh",
    ),
    Defect(
        "refresh_race",
        "a message behind a refresh is thrown away",
        "window",
        "50ms",
        drawn="message, from the refresh before it on",
    ),
    Defect(
        "expiry_ignored",
        "a session goes on beyond the expiry of its token",
        drawn="expiry of a session's token",
    ),
    Defect(
        "reconnect_ghost",
        "events of a user go to a connection that is dead, and so to nobody; they can be replayed",
        "window",
        "200ms",
        drawn="event, from the end of a connection of its user without a Close on",
    ),
    Defect(
        "double_run_mixup",
        "the events of a second run of a thread carry the run_id of the first",
        "window",
        "50ms",
        drawn="run, from the one before with its user and thread_id on",
    ),
    Defect(
        "takeover_race",
        "the events of a run go only to another connection of its user, which has just become "
        "ready",
        "window",
        "50ms",
        drawn="run, from the connection_ready of another connection of its user on",
    ),
    Defect(
        "subscribe_race",
        "the first event of a run is not sent to the connection that started it",
        "window",
        "20ms",
        drawn="run, from the connection_ready of the connection that starts it on",
    ),
)
