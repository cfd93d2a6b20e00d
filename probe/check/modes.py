"""Endpoints side by side: whether they all behave alike.

The rule (docs/methods.md, Pressure): each value of each facet, at each endpoint against all
others, by Fisher's exact test, corrected for their number at 1 %. What one client met hangs
together, so the unit of the test is the client: did it meet the value at all? A value that
everything at one endpoint has and nothing elsewhere is told without a test. An endpoint that
differs is then left out, so that the others are not told to differ from it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

import numpy as np

from probe.check.bound import Part, unmeasured
from probe.check.catalogue import finding
from probe.check.facets import Facet, facets
from probe.check.verdict import Check, Outcome
from probe.check.witness import witnesses
from probe.check.words import counted
from probe.stats.tables import fisher

if TYPE_CHECKING:
    from collections.abc import Iterator

    from probe.check.verdict import Finding
    from probe.check.view import StageView

ALPHA: Final = 0.01
SURE: Final = 10
"""So many cases on each side, of two clients or more, need no test if nothing is mixed."""
TOLD_MAX: Final = 5


@dataclass(frozen=True, slots=True)
class Contrast:
    """One value at one endpoint against all others, in clients and in units.

    `hits` of `clients` there met the value and `other_hits` of `others` elsewhere; `k` of
    `n` units there have it and `other_k` of `other_n` elsewhere.
    """

    facet: int
    endpoint: int
    value: int
    hits: int
    clients: int
    other_hits: int
    others: int
    k: int
    n: int
    other_k: int
    other_n: int

    @property
    def trivial(self) -> bool:
        """Nobody met it, or everybody did."""
        return self.hits + self.other_hits in {0, self.clients + self.others}

    @property
    def sure(self) -> bool:
        """Everything here has it and nothing elsewhere, or the reverse."""
        apart = (self.k == self.n and not self.other_k) or (
            not self.k and self.other_k == self.other_n
        )
        many = min(self.n, self.other_n) >= SURE and min(self.clients, self.others) > 1
        return apart and many

    @property
    def more(self) -> bool:
        """Whether it is more frequent here than elsewhere."""
        return self.k * self.other_n > self.other_k * self.n

    @property
    def p_value(self) -> float:
        """Of Fisher's exact test over clients."""
        if self.sure:
            return 0.0
        return fisher(
            self.hits, self.clients - self.hits, self.other_hits, self.others - self.other_hits
        )


def modes(view: StageView) -> Part:
    """`<stage>.modes`."""
    part = Part()
    if not view.stage.expect.modes:
        return part
    every = facets(view)
    main = "run" if view.resolved.dialect.run else "attempt"
    seen = {e for facet in every if facet.noun == main for e in np.unique(facet.endpoint).tolist()}
    comparable = [facet for facet in every if len(np.unique(facet.endpoint)) > 1]
    if len(seen) < 2 or not any(facet.noun == main for facet in comparable):  # noqa: PLR2004 -- two to compare
        where = ", ".join(view.endpoint(e) for e in sorted(seen)) or "none"
        why = f"to compare takes {main}s of clients alike at two endpoints; seen: {where}"
        part.checks.append(unmeasured(view, "modes", "comparison", why))
        return part
    found, tests = differing(comparable)
    part.checks.append(_check(view, comparable, found, tests, sorted(seen)))
    if found:
        part.findings.append(_finding(view, comparable, found))
    return part


def differing(every: list[Facet]) -> tuple[list[Contrast], int]:
    """What differs, the clearest first, and how many contrasts were looked at."""
    out: list[Contrast] = []
    tests = sum(not c.trivial for k, facet in enumerate(every) for c in _contrasts(k, facet, ()))
    for k, facet in enumerate(every):
        blamed: tuple[int, ...] = ()
        while contrasts := [c for c in _contrasts(k, facet, blamed) if not c.trivial]:
            best = min(contrasts, key=_clearest)
            if best.p_value * tests > ALPHA:
                break
            out.append(best)
            blamed += (best.endpoint,)
    return sorted(out, key=lambda c: (c.p_value, c.facet, c.endpoint)), tests


def _clearest(contrast: Contrast) -> tuple[float, bool, int]:
    """The order of blame. Rounded: having one value is not having the other, at one p-value."""
    p_value = float(f"{contrast.p_value:.9e}")
    return p_value, not contrast.more, -contrast.endpoint


def _contrasts(number: int, facet: Facet, without: tuple[int, ...]) -> Iterator[Contrast]:
    keep = ~np.isin(facet.endpoint, without)
    session, endpoint, value = facet.session[keep], facet.endpoint[keep], facet.value[keep]
    places, at = np.unique(endpoint, return_inverse=True)
    if len(places) < 2:  # noqa: PLR2004 -- two to compare
        return
    width = len(facet.words)
    units = np.bincount(at.reshape(-1) * width + value, minlength=len(places) * width)
    units = units.reshape(len(places), width)
    # One client is at one endpoint, so that each of its values counts once there.
    met = np.unique(np.stack([session, at.reshape(-1), value], axis=1), axis=0)
    hits = np.bincount(met[:, 1] * width + met[:, 2], minlength=len(places) * width)
    hits = hits.reshape(len(places), width)
    clients = np.bincount(np.unique(met[:, :2], axis=0)[:, 1], minlength=len(places))
    n = units.sum(axis=1)
    for place, name in enumerate(places.tolist()):
        for k in range(width):
            yield Contrast(
                number,
                name,
                k,
                hits=int(hits[place, k]),
                clients=int(clients[place]),
                other_hits=int(hits[:, k].sum() - hits[place, k]),
                others=int(clients.sum() - clients[place]),
                k=int(units[place, k]),
                n=int(n[place]),
                other_k=int(units[:, k].sum() - units[place, k]),
                other_n=int(n.sum() - n[place]),
            )


def smallest_seen(every: list[Facet], tests: int) -> tuple[int, int] | None:
    """(k, n): what k of the n clients of one endpoint met, and none elsewhere, would show.

    Of the endpoint with the fewest clients; None where it has too few.
    """
    facet = every[-1]
    pairs = np.unique(np.stack([facet.session, facet.endpoint], axis=1), axis=0)
    counts = np.unique(pairs[:, 1], return_counts=True)[1]
    n, others = int(counts.min()), int(counts.sum() - counts.min())
    for k in range(1, n + 1):
        if fisher(k, n - k, 0, others) * max(tests, 2 * len(counts)) <= ALPHA:
            return k, n
    return None


def _check(
    view: StageView, every: list[Facet], found: list[Contrast], tests: int, seen: list[int]
) -> Check:
    clients = len(np.unique(np.concatenate([facet.session for facet in every])))
    least = smallest_seen(every, tests)
    names = ", ".join(view.endpoint(endpoint) for endpoint in seen)
    head = f"{len(seen)} endpoints ({names}), {counted(clients, 'client')}"
    smallest = "nothing less than all cases of one endpoint would have shown"
    if least is not None:
        smallest = (
            f"what {least[0]:,} of the {counted(least[1], 'client')} of one endpoint met, and "
            "nobody elsewhere, would have shown (1 %)"
        )
    verdict, message = Outcome.PASS, f"{head} behave alike; {smallest}"
    if found:
        verdict = Outcome.FAIL
        message = f"{head} do not behave alike: {_words(view, every, found[0])}"
    elif least is None:
        verdict = Outcome.INCONCLUSIVE
        message = f"{head} show no difference, and are too few to show one that is not total"
    return Check(
        f"{view.name}.modes",
        view.name,
        True,
        verdict,
        "comparison",
        clients,
        message,
        load_sensitive=not any(contrast.sure for contrast in found),
        smallest=smallest,
        control="the other endpoints, under the same load",
    )


def _words(view: StageView, every: list[Facet], contrast: Contrast) -> str:
    facet = every[contrast.facet]
    path = urlsplit(view.url(contrast.endpoint)).path
    where = (
        f"{view.endpoint(contrast.endpoint)} ({path})" if path else view.endpoint(contrast.endpoint)
    )
    units = counted(contrast.n, facet.noun)
    return (
        f"{where}: {contrast.k:,} of {units} {facet.words[contrast.value]}; elsewhere "
        f"{contrast.other_k:,} of {contrast.other_n:,}"
    )


def _finding(view: StageView, every: list[Facet], found: list[Contrast]) -> Finding:
    sentences = [_words(view, every, contrast) for contrast in found[:TOLD_MAX]]
    if len(found) > TOLD_MAX:
        sentences.append(f"and {len(found) - TOLD_MAX:,} more differences")
    first = found[0]
    facet = every[first.facet]
    # The cases are where the value is the odd one: here if more frequent here.
    mine = (facet.value == first.value) & ((facet.endpoint == first.endpoint) == first.more)
    attempts = view.attempts[np.isin(view.attempts["session"], facet.session[mine])]
    return finding(
        "modes.differ",
        f"{view.name}.modes",
        max(int(mine.sum()), 1),
        "; ".join(sentences),
        witness=witnesses(view, attempts),
    )
