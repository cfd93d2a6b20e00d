"""A Close that is as it ought to be is read without the reference, which tells the same of it."""

from __future__ import annotations

import itertools

import pytest

from probe.wire.frames import CLOSE, _right_close
from probe.wire.reference import Reference

CODES = (*range(990, 1020), *range(2995, 3003), *range(4990, 5003), 0, 1, 999, 2000, 0x8000, 0xFFFF)
REASONS = (b"", b"bye", "é".encode(), b"\xff", "é".encode()[:1], b"x" * 123, b"x" * 124)
LIMITS = (1, 2, 4, 125, 1 << 20)


def by_reference(frame, limit):
    (event,) = Reference(limit).feed(frame)
    return event


@pytest.mark.parametrize("limit", LIMITS)
def test_what_is_read_at_once_is_what_the_reference_tells(limit):
    at_once = 0
    for code, reason in itertools.product(CODES, REASONS):
        body = code.to_bytes(2) + reason
        size = bytes((len(body),)) if len(body) < 126 else b"\x7e" + len(body).to_bytes(2)
        frame = b"\x88" + size + body
        found = _right_close(frame, limit)
        judged = by_reference(frame, limit)
        assert found == (judged if judged[0] == CLOSE else None), (code, reason, limit)
        at_once += found is not None
    assert bool(at_once) is (limit > 1)


@pytest.mark.parametrize(
    "frame",
    [
        b"\x88\x00",  # no code
        b"\x88\x01\x03",  # half a code
        b"\x88\x82\0\0\0\0\x03\xe8",  # masked
        b"\x08\x02\x03\xe8",  # not the last fragment
        b"\xc8\x02\x03\xe8",  # a bit that nobody agreed on
        b"\x89\x02\x03\xe8",  # a ping
        b"\x88\x04\x03\xe8",  # not whole
        b"\x88\x02\x03\xe8x",  # more behind it
    ],
)
def test_all_else_is_left_to_the_reference(frame):
    assert _right_close(frame, 1 << 20) is None
