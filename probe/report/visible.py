r"""Text that a peer wrote, made safe to look at: what cannot be seen is spelled out.

The rule: everything outside printable text (controls, line ends, bidirectional and
zero-width marks, lone surrogates, unassigned and private characters) becomes the escape a
Python string literal has for it, such as `\n`, `\x1b` or `\u202e`, on one line. A byte that
was no UTF-8 (kept by "surrogateescape") becomes that byte's `\xff`. A backslash stays one,
so the spelling is for eyes; the exact bytes are in the run's files.
"""

from __future__ import annotations

import re
import unicodedata

TEXT_CHARS_MAX = 2_000
_HIDDEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}
_SURROGATES = re.compile("[\ud800-\udfff]")


def visible(text: object, *, chars_max: int = TEXT_CHARS_MAX, ascii_only: bool = False) -> str:
    """`str(text)` as one printable line; past `chars_max` it says how much was left out."""
    whole = str(text)
    shown = "".join(
        spelled(char)
        if unicodedata.category(char) in _HIDDEN or (ascii_only and not char.isascii())
        else char
        for char in whole[:chars_max]
    )
    left_out = len(whole) - chars_max
    return f"{shown}... ({left_out:,} more characters)" if left_out > 0 else shown


def spelled(char: str) -> str:
    """The escape of one character."""
    if char in _SHORT:
        return _SHORT[char]
    code = ord(char)
    if 0xDC80 <= code <= 0xDCFF:  # noqa: PLR2004 -- where "surrogateescape" puts bytes 80 to ff
        return f"\\x{code - 0xDC00:02x}"
    if code < 0x100:  # noqa: PLR2004 -- what two hexadecimal digits can say
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"  # noqa: PLR2004 -- the same, four


def encodable(text: str) -> str:
    """The text with lone surrogates spelled out, since strict UTF-8 readers refuse them."""
    return _SURROGATES.sub(lambda match: spelled(match[0]), text)
