"""What can be offered to a service, by its dialect: the material of which rows are made.

The rule: only what the dialect says is supported counts as supported. A row for which it
has no material is not sent, and `lacking` says why.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from probe.model.handshakes import NO_OFFER, PLAIN

if TYPE_CHECKING:
    from probe.model.dialect import Dialect, Presentation
    from probe.model.handshake import HandshakeCase

TOKEN: Final = "{token}"  # noqa: S105 -- a place, not a token
UNKNOWN: Final = "x-probe-unknown"
PADDING: Final = "x-probe-pad."
PLACE: Final = re.compile(r"\{([a-z]+)(?::(\d+))?\}")
_PLAINLY: Final = ("{default}",)  # where there is none, the header is left out
_ONE: Final = "the dialect offers no subprotocol that stands alone"
_WHY: Final = {
    "reversed": "the dialect offers fewer than two subprotocols",
    "first": "the dialect offers fewer than two subprotocols",
    "rest": "the dialect offers fewer than two subprotocols",
    "all": "no presentation of the dialect offers more than the usual one",
    "one": _ONE,
    "companion": "the dialect offers no subprotocol beside the one that bears the token",
    "bearing": "the dialect shows no token in a subprotocol",
    "broken": "the dialect shows no token in a subprotocol",
    "other": "the dialect shows no token in a subprotocol",
    "folded": "no subprotocol of the dialect is a name with letters in it",
    "pad": "the dialect shows no token in a subprotocol",
}

FORBIDDEN: Final = "the target forbids bad tokens (safety.bad_tokens)"


@dataclass(frozen=True, slots=True)
class Repertoire:
    """Templates of offers, with `{token}` where a token goes; "" or () for what there is not.

    `offering` is the presentation whose subprotocols are `default`, `beside` one that shows
    the token elsewhere (`bare`: without offering any subprotocol, as the dialect has it), and
    `single` one that offers nothing but `one`.
    `every` are all that are supported. `strict`: nothing but unknown ones is rejected.
    """

    offering: Presentation
    beside: Presentation | None
    bare: bool
    single: Presentation | None
    default: tuple[str, ...]
    every: tuple[str, ...]
    one: str
    companion: str
    bearing: str
    strict: bool
    tokens: bool

    def places(self) -> dict[str, tuple[str, ...]]:
        """What each place of a template of offers stands for, in order."""
        default = self.default
        bearing = (self.bearing,) if self.bearing else ()
        several = len(default) > 1
        plain = next((each for each in self.every if TOKEN not in each and _letters(each)), "")
        return {
            "default": default,
            "blanks": default,
            "reversed": default[::-1] if several else (),
            "first": default[:1] if several else (),
            "rest": default[1:] if several else (),
            "all": self.every if set(self.every) != set(default) else (),
            "one": (self.one,) if self.one else (),
            "companion": (self.companion,) if self.companion else (),
            "bearing": bearing,
            "broken": default if self.bearing else (),
            "other": bearing,
            "folded": (plain.swapcase(),) if plain else (),
            "unknown": (UNKNOWN,),
            "pad": (PADDING,) if self.bearing else (),
        }

    def lacking(self, case: HandshakeCase) -> str:
        """Why this row cannot be sent to a service of this dialect; "" where it can."""
        if case.shown == "beside" and self.beside is None:
            return "the dialect shows its token in subprotocols alone"
        if case.shown == "nowhere" and not self.tokens:
            return "the target has no token to leave out"
        places = self.places()
        for name in (found[0] for each in case.offers for found in PLACE.findall(each)):
            if not places[name] and case.offers != _PLAINLY:
                return _WHY.get(name, "the dialect offers no subprotocol")
        if case.name == "several" and len(self.default) < 2:  # noqa: PLR2004 -- several
            return _WHY["reversed"]
        return ""

    def shows_bad_token(self, case: HandshakeCase) -> bool:
        """Whether this row shows half a token, another one or none, which a target may forbid."""
        used = {found[0] for each in case.offers for found in PLACE.findall(each)}
        return self.tokens and (case.shown == "nowhere" or bool(used & {"broken", "other"}))

    def presentation(self, case: HandshakeCase) -> Presentation:
        """How the token is shown but for the offers, which are the row's own."""
        shown = self.beside if case.shown == "beside" else self.offering
        if case.offers == ("{one}",):
            shown = self.single
        assert shown is not None
        if case.shown == "nowhere":
            return shown.model_copy(
                update={
                    name: {k: v for k, v in getattr(shown, name).items() if TOKEN not in v}
                    for name in ("headers", "query", "cookies")
                }
                | {"subprotocols": (), "first_message": None}
            )
        return shown.model_copy(update={"subprotocols": ()})

    def control(self, case: HandshakeCase) -> str:
        """The row that shows that the token of this one is good."""
        return NO_OFFER if case.shown == "beside" and self.bare else PLAIN


def repertoire_of(dialect: Dialect, *, tokens: bool) -> Repertoire:
    """The material of a dialect; without `tokens` what needs one is left out, as it is sent."""
    tokens = tokens and any(map(_shows, dialect.present.values()))
    usually = [each for each in dialect.present.values() if not each.optional]
    welcome = [each for each in usually if each.expect == "accepted"]
    usual = dialect.present["default"]
    having = [p for p in (usual, *welcome) if _offers(p, tokens=tokens)]
    offering = having[0] if having else usual
    default = _offers(offering, tokens=tokens)
    every = tuple(dict.fromkeys(o for p in having for o in _offers(p, tokens=tokens)))
    bearing = next((each for each in default if TOKEN in each), "")
    single = [p for p in having if len(_offers(p, tokens=tokens)) == 1]
    beside = [p for p in (usual, *welcome) if _elsewhere(p, tokens=tokens)]
    beside.sort(key=lambda p: bool(p.subprotocols))  # first those that offer none
    turned_away = [p for p in usually if p.expect == "rejected"]
    return Repertoire(
        offering=offering,
        beside=beside[0] if beside else None,
        bare=bool(beside) and not beside[0].subprotocols,
        single=single[0] if single else None,
        default=default,
        every=every,
        one=_offers(single[0], tokens=tokens)[0] if single else "",
        companion=next((o for o in default if TOKEN not in o), "") if bearing else "",
        bearing=bearing,
        strict=any(_only_unknown(p, every) for p in turned_away),
        tokens=tokens,
    )


def _offers(shown: Presentation, *, tokens: bool) -> tuple[str, ...]:
    return tuple(each for each in shown.subprotocols if tokens or TOKEN not in each)


def _elsewhere(shown: Presentation, *, tokens: bool) -> bool:
    """Whether it shows the token, or needs none, without its subprotocols."""
    if any(TOKEN in each for each in shown.subprotocols):
        return False
    return not tokens or _shows(shown)


def _shows(shown: Presentation) -> bool:
    """Whether it shows the token anywhere."""
    tables = (shown.headers, shown.query, shown.cookies)
    values = [value for table in tables for value in table.values()]
    return any(TOKEN in each for each in (*shown.subprotocols, *values, shown.first_message or ""))


def _only_unknown(shown: Presentation, every: tuple[str, ...]) -> bool:
    return bool(shown.subprotocols) and not set(shown.subprotocols) & set(every)


def _letters(name: str) -> bool:
    return name.swapcase() != name
