r"""TOML that a person is to read: values escaped, comments on one line each.

The rule: whatever came from a server stands within quotes with every sign escaped that cannot be
seen (as in `probe.report.visible`, in TOML's spelling), or behind a `#` on a line that it cannot
leave.
"""

from __future__ import annotations

import unicodedata
from itertools import chain, repeat
from typing import TYPE_CHECKING, Final

from probe.report.visible import visible

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

WIDTH: Final = 96
_HIDDEN: Final = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
_SHORT: Final = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"}
_BARE: Final = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-")
_LITERAL_FROM: Final = 2  # so many quotes within, and '…' is easier to read


def quoted(text: str) -> str:
    """A string of TOML; single quotes where that spares escapes."""
    plain = all(unicodedata.category(char) not in _HIDDEN for char in text)
    if plain and "'" not in text and text.count('"') + text.count("\\") >= _LITERAL_FROM:
        return f"'{text}'"
    return '"' + "".join(map(_escaped, text)) + '"'


def _escaped(char: str) -> str:
    if char in _SHORT:
        return _SHORT[char]
    if unicodedata.category(char) not in _HIDDEN:
        return char
    code = ord(char)
    if unicodedata.category(char) == "Cs":
        code = 0xFFFD  # TOML has no lone surrogates
    return f"\\u{code:04X}" if code < 0x10000 else f"\\U{code:08X}"  # noqa: PLR2004 -- what four digits can say


def key(name: str) -> str:
    """A key, bare where it may be."""
    return name if name and set(name) <= _BARE else quoted(name)


def listed(items: Iterable[str]) -> str:
    """A list of strings, over several lines where it is long."""
    parts = [quoted(item) for item in items]
    line = f"[{', '.join(parts)}]"
    return line if len(line) <= WIDTH else spread(parts)


def spread(parts: Iterable[str], notes: Iterable[str] = ()) -> str:
    """A list, each of its parts on a line of its own, with a note behind it."""
    lines = (
        f"  {part}," + (f" # {visible(note)}" if note else "")
        for part, note in zip(parts, chain(notes, repeat("")), strict=False)
    )
    return "\n".join(["[", *lines, "]"])


def table(values: Mapping[str, str]) -> str:
    """An inline table of strings."""
    return (
        "{ " + ", ".join(f"{key(name)} = {quoted(value)}" for name, value in values.items()) + " }"
    )


def comment(text: str) -> str:
    """Comment lines of one sentence, wrapped; nothing in it can end the comment."""
    lines, line = [], "#"
    for word in visible(text, chars_max=600).split(" "):
        if len(line) + 1 + len(word) > WIDTH and line != "#":
            lines.append(line)
            line = "#"
        line += f" {word}"
    return "\n".join([*lines, line])
