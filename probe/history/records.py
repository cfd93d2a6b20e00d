"""What a row says: the vocabulary that both wings share.

One row is 32 bytes, little endian: t (int64, monotonic ns), session (uint32), op (uint32),
kind (uint16), flag (uint16), a (int32), b (int64). `op` is the number of the attempt within
its session, from 0. A *text* is a reference into the side file (0: none was kept). Rows of
no session carry `NOBODY`. The table below is the only place that says what a field means.

| kind | op | flag | a | b |
|---|---|---|---|---|
| STAGE | stage index | 0 begin, 1 end, 2 stopped early, 3 skipped | trials begun | text: why |
| ANCHOR | trial | | stage index | time zero of the trial (ns) |
| SETTLED | trial | 0 settled, 1 gave up, 2 no restart | stage index | text: why |
| HEALTH | service index | 1 healthy, 2 degraded | HTTP status (0: no answer) | sent at (ns) |
| LAG | process | | | heartbeat lag (ns) |
| CPU | process | | permille of one core | resident bytes |
| STEAL | process | | permille of its machine | |
| GC | generation | process | | pause (ns) |
| GAP | | | rows lost | first lost stamp (ns) |
| TOLD | service index | as HEALTH | HTTP status | text: JSON, what the service said of its parts |
| TOKEN | | 1 given, 0 refused | tokens | how long it took (ns) |
| PEER | endpoint or service index | 0 endpoint, 1 service | | text: JSON, who answered there |
| TRIAL | trial | outcome (Trial) | why it was tried (Sought) | measured offset (ns) |
| RELEASE | release | who fell out before it | spread of the lags (ns) | its instant (ns) |
| JITTER | stage index | 0 told by the scenario, 1 measured, 2 assumed | pairs | sd (ns) |
| VARIANT | first trial | 0 tried, 1 confirmed | stage index | text: JSON, what was taken away |
| LIMIT | process | 0 descriptors, 1 local ports | in use | how many there are |
| LEVEL | trial | 0 begun, 1 over | stage index | arrivals/s; clients there, both in millionths |
| LEVEL | attempt | 2 asked (t: when it was due) | level | number of ping or sentinel, 0 not sent |
| MEMORY | process | what of (Memory) | permille left; major faults | bytes left; bytes in swap |
| INTENDED | trial | endpoint index | population index | identity index |
| DIAL | attempt | | | |
| RESOLVED | attempt | | addresses found | |
| TCP | attempt | | local port | |
| TLS | attempt | | | |
| SENT | attempt | | request bytes | text: request head |
| HEAD | attempt | violations (bits) | status | text: response head and body |
| FIRST | attempt | | bytes in the first chunk after the head | |
| READY | attempt | | | |
| PUT | attempt | what for (Put) | bytes of payload | run key, -1 none |
| GOT | attempt | event type index | sequence, 0 none, -1 unusable | run key, -1 none, -2 not ours |
| KEPT | attempt | direction: 0 sent, 1 received | opcode | text: the message |
| PING | attempt | | | token |
| PONG | attempt | | | token |
| RUN | attempt | what happened (Run) | begun: size asked for; else events seen | run key |
| ODD | attempt | what was odd (Odd) | event type index | text: where in the message and what |
| FOREIGN | attempt | 0 a run's id, 1 the user's field, 2 a token | type index | run key, identity |
| STALL | attempt | 0 reading stopped, 1 reading again | | |
| SENTINEL | attempt | 0 sent, 1 came back | | its number |
| VANISH | attempt | | | |
| ACTION | attempt | number of the gate | trial | offset that was aimed at (ns) |
| TRAFFIC | attempt | 0 sent, 1 received | messages | bytes of payload |
| CREDENTIAL | attempt, or the next | what happened (Credential) | see Credential | see Credential |
| CLOSE | attempt | 0 sent, 1 received | close code | text: reason |
| END | attempt | phase reached | outcome | text: detail |
| DONE | attempts made | 0 complete, 1 failed, 2 stopped | step at which it failed | text: why |

A *process* is 0 the probe, 1 the lab, and from 2 on the probe's workers. What LIMIT tells of
local ports is how many there are; how many were in use follows from the connections.

A *run key* names a run of this probe run whoever meets it: the session that began it in the
upper 32 bits, its number within that session (from 0) in the lower 32. FOREIGN names a run by
its key and an identity by -2 minus its index, so that no two of them are the same number. It
follows the GOT row of its message, or the END of an attempt if the reason of a CLOSE names it.

An ACTION is what a gate of a race let go; its stamp is that of the write, and of a request over
HTTP that of its answer (0 for `attempt` where there was none). What TRIAL says of a trial is
what the search was told, in order; checks judge by ACTION and DONE, and take from TRIAL only
why it was tried. Where its offset could not be measured, b is the one that was aimed at.

A LEVEL of a capacity stage is begun at a rate, and over with how many clients were there on
average while it was measured, by a gauge. The trial is its number in the order of playing.

From the trial that a VARIANT names to that of the next, a smaller race is played. Its text has
`without`, the places of what was taken away (`probe.model.shrinking`), and `words` on the last
of them. Trials keep the numbers that the whole race gives them, so that some are left out.
"""

from __future__ import annotations

import struct
from enum import IntEnum
from typing import Final

import numpy as np

SCHEMA: Final = 4
MICRO: Final = 1_000_000
NOBODY: Final = 0xFFFFFFFF
ROW: Final = struct.Struct("<qIIHHiq")
DTYPE: Final = np.dtype(
    [
        ("t", "<i8"),
        ("session", "<u4"),
        ("op", "<u4"),
        ("kind", "<u2"),
        ("flag", "<u2"),
        ("a", "<i4"),
        ("b", "<i8"),
    ]
)


class Kind(IntEnum):
    """Row kinds; numbers are part of the stored format and never change."""

    STAGE = 1
    ANCHOR = 2
    SETTLED = 3
    HEALTH = 4
    LAG = 5
    CPU = 6
    STEAL = 7
    GC = 8
    GAP = 9
    PEER = 10
    LIMIT = 11
    TOLD = 12
    TOKEN = 13
    TRIAL = 14
    RELEASE = 15
    JITTER = 16
    VARIANT = 17
    MEMORY = 18
    LEVEL = 19
    INTENDED = 20
    DIAL = 21
    RESOLVED = 22
    TCP = 23
    TLS = 24
    SENT = 25
    HEAD = 26
    FIRST = 27
    READY = 28
    PUT = 30
    GOT = 31
    KEPT = 32
    PING = 33
    PONG = 34
    RUN = 35
    ODD = 36
    FOREIGN = 37
    STALL = 38
    SENTINEL = 39
    CLOSE = 40
    END = 41
    DONE = 42
    VANISH = 43
    TRAFFIC = 44
    CREDENTIAL = 50
    ACTION = 45


class Level(IntEnum):
    """What a LEVEL row tells (LEVEL.flag); b of the first two counts in millionths (MICRO)."""

    BEGUN = 0  # b: arrivals per second
    OVER = 1  # b: clients there on average while it was measured
    ASKED = 2  # a: the number of the level; b: that of the ping or sentinel, 0: not sent


class Memory(IntEnum):
    """What a MEMORY row is of (MEMORY.flag)."""

    MACHINE = 0  # a: permille that is still available; b: bytes
    GROUP = 1  # the same of the control group (container) that the process is in
    SWAPPED = 2  # a: the process' major faults since the row before; b: its bytes in swap


class Phase(IntEnum):
    """How far an attempt came; the phase it was in when it ended."""

    RESOLVE = 0
    TCP = 1
    PROXY = 2
    TLS = 3
    UPGRADE = 4
    OPEN = 5
    READY = 6


class Outcome(IntEnum):
    """How one connection attempt ended. One of these for every DIAL, always.

    `NORMAL` covers every end that the client asked for after it was ready. A refusal that
    says so (`REFUSED`, `STATUS`) is definite; `TIMEOUT` is silence; `RESET` and `EOF` are
    drops. What it means depends on the phase, which the same row carries.
    """

    NORMAL = 0
    RESOLVE_FAILED = 1
    REFUSED = 2
    UNREACHABLE = 3
    TIMEOUT = 4
    TLS_FAILED = 5
    CERTIFICATE = 6
    PROXY_FAILED = 7
    RESET = 8
    EOF = 9
    STATUS = 10
    NOT_HTTP = 11
    BAD_UPGRADE = 12
    CLOSED = 13
    PROTOCOL_ERROR = 14
    TOO_LARGE = 15
    LOCAL = 16
    CANCELLED = 17


class Put(IntEnum):
    """What a message of ours was for (PUT.flag)."""

    MESSAGE = 0
    START = 1  # of a run
    SENTINEL = 2
    FLOOD = 3
    RESUME = 4
    LARGE = 5
    REFRESH = 6


class Credential(IntEnum):
    """What became of a session's token (CREDENTIAL.flag)."""

    SHOWN = 0  # another one from here on; a: text: the case; b: its expiry (ns, 0 unknown)
    RENEWED = 1  # it is sent on the open connection; a and b as of SHOWN
    REVOKED = 2  # a: HTTP status of the answer; b: when it was asked for (ns)
    LOGGED_OUT = 3  # as REVOKED
    NOT_MADE = 4  # a: 0 it cannot be made, 1 the target forbids it; b: text: why


class Run(IntEnum):
    """What happened to a run that this session began (RUN.flag); checks judge by GOT alone."""

    BEGUN = 0
    ENDED = 1  # the event that ends it came
    GIVEN_UP = 2  # deadline and drain have passed without it
    CUT_OFF = 3  # the session was over before it
    REFUSED = 4  # an error or a limit named it, or named none, and silence followed


class Odd(IntEnum):
    """What was wrong with a message (ODD.flag)."""

    MALFORMED = 1  # not readable in the dialect's framing
    MISSING = 2  # a required field is not there
    TYPE = 3  # a field is of another type
    VALUE = 4  # any other rule of the schema
    SHAPE = 5  # readable in a shape that is not the canonical one; the text names the shape
    IDS = 6  # ids within one run disagree
    UNKNOWN = 7  # a type that the dialect does not know, where it knows all


class Trial(IntEnum):
    """What became of a trial of a race (TRIAL.flag)."""

    VOID = 0  # it was stopped, or an actor did not come to its gate: it tells nothing
    FINE = 1
    ANOMALY = 2
    UNPLACED = 3  # an anomaly without an offset: one of the two actions was not let go


class Sought(IntEnum):
    """Why a trial was made (TRIAL.a)."""

    SWEEP = 0
    LOCALISE = 1
    CONFIRM = 2
    CONTROL = 3


def run_key(session: int, number: int) -> int:
    """The key of a run; see the module."""
    return session << 32 | number


def identity_mark(index: int) -> int:
    """FOREIGN.b of an identity; the same again gives the index back."""
    return -2 - index


class Violation(IntEnum):
    """Bits of HEAD.flag: what was wrong with a response; RFC 6455 section 4.1 unless told."""

    UPGRADE = 1
    CONNECTION = 2
    ACCEPT = 4
    SUBPROTOCOL_UNOFFERED = 8
    SUBPROTOCOL_MALFORMED = 16
    EXTENSION = 32
    SUBPROTOCOL_NONE = 64  # legal (section 4.2.2), though browsers fail the connection
