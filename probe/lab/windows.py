"""Windows in time: an anomaly that happens only when two actions come close together.

A window opens DELAY after the first action and lasts WIDTH; both edges are shifted by one
normal jitter, drawn for each first action; a second action inside it meets the anomaly
with probability P. The offset is what was measured: both actions are stamped with
`time.perf_counter_ns` when the lab's loop handles them, so nothing here knows what a
client planned. The draws depend on the seed and on how many first actions came before,
as those of `defects` do.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from statistics import NormalDist
from typing import TYPE_CHECKING, Final

from probe.lab.draws import draw
from probe.lab.durations import format_duration, parse_duration

if TYPE_CHECKING:
    from collections import Counter

SPAN_NS_MAX: Final = 60_000_000_000  # of delay, width and jitter, each
WIDTH_NS_MIN: Final = 1_000_000
FIRSTS_MAX: Final = 20_000
_SHAPE: Final = re.compile(r"(?:([^+~/]+)\+)?([^+~/]+)(?:~([^+~/]+))?(?:/([^+~/]+))?")
_TIMER_S: Final = 0.001  # a timer of the loop may be early by as much
_HALF_STEP: Final = 2.0**-54  # a draw can be 0, and the normal quantile of 0 is infinite
_NORMAL: Final = NormalDist()


@dataclass(frozen=True, slots=True)
class Span:
    """What a window is set to; `jitter_ns` is a standard deviation, `chance` is P."""

    width_ns: int
    delay_ns: int = 0
    jitter_ns: int = 0
    chance: float = 1.0


def parse_span(text: str) -> Span:
    """A span from `[DELAY+]WIDTH[~JITTER][/P]`, like "100ms+50ms~1ms/0.3"; else ValueError."""
    match = _SHAPE.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is no window")
    delay, width, jitter, chance = match.groups()
    span = Span(
        parse_duration(width),
        parse_duration(delay or "0s"),
        parse_duration(jitter or "0s"),
        float(chance or "1"),
    )
    if not WIDTH_NS_MIN <= span.width_ns <= SPAN_NS_MAX:
        raise ValueError(f"{text!r}: a width is from 1ms to 60s")
    if span.delay_ns > SPAN_NS_MAX or span.jitter_ns > SPAN_NS_MAX:
        raise ValueError(f"{text!r}: a delay and a jitter are at most 60s")
    if not 0.0 <= span.chance <= 1.0:  # false for NaN as well
        raise ValueError(f"{text!r}: a probability is from 0 to 1")
    return span


def format_span(span: Span) -> str:
    """The shortest text of a span."""
    text = format_duration(span.width_ns)
    if span.delay_ns:
        text = f"{format_duration(span.delay_ns)}+{text}"
    if span.jitter_ns:
        text += f"~{format_duration(span.jitter_ns)}"
    return text if span.chance == 1.0 else f"{text}/{span.chance}"


@dataclass(slots=True)
class Opened:
    """The window after one first action: from `opens_ns` to before `ends_ns` after it."""

    opens_ns: int
    ends_ns: int
    _key: str
    _chance: float
    _asked: int = 0

    def hits(self, after_ns: int, key: str | None = None) -> bool:
        """Whether a second action so long after the first is inside, and meets the anomaly.

        Without a key it is the count of those that were inside so far.
        """
        return self.opens_ns <= after_ns < self.ends_ns and self.happens(key)

    def happens(self, key: str | None = None) -> bool:
        """The draw alone, for what need not be inside."""
        if key is None:
            key = str(self._asked)
            self._asked += 1
        return draw(f"{self._key}/{key}") < self._chance

    def left_s(self, after_ns: int) -> float:
        """How long to set a timer that is not to fire inside the window, 0 when it is over."""
        left_ns = self.ends_ns - after_ns
        return left_ns / 1e9 + _TIMER_S if left_ns > 0 else 0.0


AT_ONCE: Final = Opened(0, 0, "", 0.0)  # a window that nothing can be inside of


@dataclass(frozen=True, slots=True)
class Window:
    """A defect with a window, as it is set now; `asked` counts the first actions by defect."""

    name: str
    span: Span
    origin: str  # of its draws
    asked: Counter[str]

    def opened(self, key: str | None = None) -> Opened:
        """The window after a first action; without a key, that is their count so far."""
        if key is None:
            key = str(self.asked[self.name])
            self.asked[self.name] += 1
        key = f"{self.origin}/{self.name}/{key}"
        opens_ns = self.span.delay_ns
        if self.span.jitter_ns:
            quantile = _NORMAL.inv_cdf(draw(f"{key}/jitter") + _HALF_STEP)
            opens_ns += round(quantile * self.span.jitter_ns)
        return Opened(opens_ns, opens_ns + self.span.width_ns, key, self.span.chance)


@dataclass(frozen=True, slots=True)
class Second:
    """A second action that hit: its measured offset, and what the first belonged to."""

    after_ns: int
    first: str


@dataclass(frozen=True, slots=True)
class _First:
    span: Span
    t_ns: int
    opened: Opened
    name: str


@dataclass(slots=True)
class Firsts:
    """The first actions of all windows, by defect and key; the oldest beyond a bound is forgotten.

    `name` is what is told of a first action when a second hits, such as a connection. A
    first action under another setting of its defect is none any more.
    """

    _found: dict[tuple[str, str], _First] = field(default_factory=dict)

    def begin(self, window: Window, key: str, t_ns: int, name: str = "") -> Opened:
        """Note a first action; one of the same time is the same, and keeps its window."""
        place = window.name, key
        first = self._first(window, key)
        if first is None or first.t_ns != t_ns:
            self._found.pop(place, None)  # so that the order is that of time
            first = self._found[place] = _First(window.span, t_ns, window.opened(), name)
            while len(self._found) > FIRSTS_MAX:
                del self._found[next(iter(self._found))]
        return first.opened

    def since(self, window: Window, key: str, now_ns: int) -> Second | None:
        """The second action of that key, if it hits."""
        first = self._first(window, key)
        if first is None or not first.opened.hits(now_ns - first.t_ns):
            return None
        return Second(now_ns - first.t_ns, first.name)

    def again(self, window: Window, key: str, now_ns: int, name: str) -> Second | None:
        """The same where both actions are of one kind: what comes too late is a first again."""
        first = self._first(window, key)
        if first is None or now_ns - first.t_ns >= first.opened.ends_ns:
            self.begin(window, key, now_ns, name)
            return None
        return self.since(window, key, now_ns)

    def _first(self, window: Window, key: str) -> _First | None:
        first = self._found.get((window.name, key))
        return first if first is not None and first.span == window.span else None
