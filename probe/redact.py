"""Secrets leave no trace: every byte string that is stored or shown passes here first.

The rule: a stretch of a secret that a peer could use or a reader could recognise (11
characters or more, wherever it is cut) is masked; length and character class stay, so
that sizes, offsets and shapes can still be judged on what was stored. Short secrets are
masked whole. Whatever looks like a JSON Web Token is masked even when nobody declared it,
since a server may echo a token of somebody else.

A common stretch of 2k-1 characters always holds an aligned block of k, so the text is
looked at in blocks of k, each searched in what is secret, and hits grow both ways.
"""

from __future__ import annotations

import base64
import json
import re
from typing import TYPE_CHECKING
from urllib.parse import quote, quote_plus

if TYPE_CHECKING:
    from collections.abc import Callable

_K = 6
_SHORTEST_SECRET = 3
_SEARCHED_MAX = 4096
_JWT = re.compile(rb"eyJ[A-Za-z0-9_\-]{5,}(?:\.[A-Za-z0-9_\-]*)*")
_ESCAPE = re.compile("%[0-9A-F]{2}")
_UNRESERVED = re.compile(rb"[A-Za-z0-9._~\-]*")
_SHIFTED_MIN = 8
_SHAPE = " -._~+/="  # what joins the parts of a token, and what base64 adds to letters


def _class_of(byte: int) -> int:
    """One byte for each class: letters, digits, other signs; `_SHAPE` stays as it is.

    Beyond ASCII the classes are those of UTF-8, so that masked text is still text.
    """
    for least, mark in ((0xF0, 0xF0), (0xE0, 0xE2), (0xC0, 0xC3), (0x80, 0xA5)):
        if byte >= least:
            return mark
    char = chr(byte)
    if char.isalpha():
        return ord("X" if char.isupper() else "x")
    if char.isdigit():
        return ord("0")
    return ord("#") if char.isprintable() and char not in _SHAPE else byte


_CLASSES = bytes(map(_class_of, range(256)))


def mask(data: bytes) -> bytes:
    """The same length and character classes, without the content."""
    return data.translate(_CLASSES)


def _spellings(secret: bytes) -> set[bytes]:
    """How one secret may be written on a wire: plain, escaped, encoded.

    Also inside of something longer that is encoded, such as user:password.
    """
    forms = {secret, base64.b64encode(secret), base64.urlsafe_b64encode(secret).rstrip(b"=")}
    for before in range(3):
        # The characters that hold bits of the secret alone: 6 bits each, 8 a byte.
        low, high = -(-8 * before // 6), 8 * (before + len(secret)) // 6
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            part = encode(bytes(before) + secret)[low:high]
            forms |= {part} if len(part) >= _SHIFTED_MIN else set()
    if not _UNRESERVED.fullmatch(secret):  # else nobody escapes any of it
        text = secret.decode("utf-8", "surrogateescape")
        for percent in (quote(secret, safe=""), quote(secret), quote_plus(secret)):
            lower = _ESCAPE.sub(lambda match: match[0].lower(), percent)
            forms |= {percent.encode(), lower.encode()}
        for ascii_only in (True, False):
            escaped = json.dumps(text, ensure_ascii=ascii_only)[1:-1]
            for form in (escaped, escaped.replace("/", "\\/")):
                forms.add(form.encode("utf-8", "surrogateescape"))
    return {form for form in forms if len(form) >= _SHORTEST_SECRET}


def _spelled_out(secret: bytes) -> set[bytes]:
    """The secret byte by byte: in hex, and all of it in JSON's escapes.

    Masked as a whole only: two signs that are escaped are no stretch of a secret.
    """
    text = secret.decode("utf-8", "replace").encode("utf-16-be")
    units = (text[at : at + 2].hex() for at in range(0, len(text), 2))
    escaped = "".join(f"\\u{unit}" for unit in units)
    upper = escaped.upper().replace("\\U", "\\u")
    forms = (secret.hex(), secret.hex().upper(), escaped, upper)
    return {form.encode() for form in forms if len(form) >= _SHIFTED_MIN}


class Redactor:
    """Masks a growing set of secrets; one for the run, and one more per identity.

    `parent` is asked too. An identity's own redactor keeps nothing but its secrets, so that
    thousands of identities cost little; the run's keeps what it can prepare.
    """

    __slots__ = ("_known", "_parent", "_secrets")

    def __init__(self, *secrets: str | bytes, parent: Redactor | None = None) -> None:
        self._parent = parent
        self._secrets: list[bytes] = []
        self._known: tuple[list[bytes], Callable[[bytes], bool]] | None = None
        for secret in secrets:
            self.add(secret)

    def add(self, secret: str | bytes) -> None:
        """Mask `secret`, and every usual encoding of it, from now on."""
        raw = secret.encode("utf-8", "surrogateescape") if isinstance(secret, str) else secret
        if len(raw) >= _SHORTEST_SECRET and raw not in self._secrets:
            self._secrets.append(raw)
            self._known = None

    @property
    def known(self) -> tuple[bytes, ...]:
        """Its own secrets, for another process of the same run; never for a file or a log."""
        return tuple(self._secrets)

    def _prepared(self) -> tuple[list[bytes], Callable[[bytes], bool]]:
        """All spellings, longest first, and whether a block of k stands in one of them."""
        if self._known is not None:
            return self._known
        forms = {form for secret in self._secrets for form in _spellings(secret)}
        # An identity's token is cut as it is, if at all; the run's keys in any spelling.
        cut = self._secrets if self._parent is not None else sorted(forms)
        forms |= {form for secret in self._secrets for form in _spelled_out(secret)}
        spellings = sorted(forms, key=lambda form: (-len(form), form))
        joined = b"\0".join(cut)
        known: Callable[[bytes], bool] = joined.__contains__
        if len(joined) > _SEARCHED_MAX:
            known = frozenset(
                form[i : i + _K] for form in cut for i in range(len(form) - _K + 1)
            ).__contains__
        if self._parent is None:
            self._known = spellings, known
        return spellings, known

    def redact(self, data: bytes) -> bytes:
        """`data` with every known secret, and everything like a JWT, masked in place."""
        if self._parent is not None:
            data = self._parent.redact(data)
        if self._secrets:
            spellings, known = self._prepared()
            for form in spellings:
                if form in data:
                    data = data.replace(form, mask(form))
            data = _mask_stretches(data, known)
        if self._parent is None:
            return _JWT.sub(lambda match: mask(match[0]), data)
        return data

    def text(self, text: str) -> str:
        """The same for a string (errors, log lines)."""
        try:
            raw, errors = text.encode("utf-8", "surrogateescape"), "surrogateescape"
        except UnicodeEncodeError:  # a lone surrogate, which a peer's JSON may hold
            raw, errors = text.encode("utf-8", "surrogatepass"), "surrogatepass"
        return self.redact(raw).decode("utf-8", errors)


def _mask_stretches(data: bytes, known: Callable[[bytes], bool]) -> bytes:
    spans: list[tuple[int, int]] = []
    for start in range(0, len(data) - _K + 1, _K):
        if not known(data[start : start + _K]):
            continue
        low, high = start, start + _K
        while low > 0 and known(data[low - 1 : low - 1 + _K]):
            low -= 1
        while high < len(data) and known(data[high - _K + 1 : high + 1]):
            high += 1
        if high - low >= 2 * _K - 1:
            spans.append((low, high))
    if not spans:
        return data
    out = bytearray(data)
    for low, high in spans:
        out[low:high] = mask(data[low:high])
    return bytes(out)
