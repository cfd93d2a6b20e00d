"""The strict response reader and the judgement of a 101."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from probe.history.records import Violation
from probe.wire.request import DEFLATE, Facts, accept_for
from probe.wire.response import (
    BODY_BYTES_MAX,
    HEAD_BYTES_MAX,
    HeadTooLargeError,
    NotHttpError,
    ResponseReader,
    parse_head,
)
from probe.wire.upgrade import deflate_of, violations

KEY = b"dGhlIHNhbXBsZSBub25jZQ=="


def read(*chunks: bytes, tunnel: bool = False) -> ResponseReader:
    reader = ResponseReader(tunnel=tunnel)
    for chunk in chunks:
        if reader.feed(chunk):
            break
    return reader


def test_headers_keep_order_duplicates_and_spelling():
    raw = b"HTTP/1.1 403 Go away \xe9\r\nA: 1\r\nb:2\r\nA:\t 3 \r\nEmpty:\r\n\r\n"
    response = parse_head(raw)
    assert (response.status, response.reason, response.raw) == (403, "Go away é", raw)
    assert response.headers == ((b"A", b"1"), (b"b", b"2"), (b"A", b"3"), (b"Empty", b""))
    assert response.all(b"a") == [b"1", b"3"]


@pytest.mark.parametrize("line", [b"HTTP/1.1 200", b"HTTP/1.1 200 ", b"HTTP/1.0 404 Not Found"])
def test_status_lines_that_servers_send(line):
    assert parse_head(line + b"\r\n\r\n").status in (200, 404)


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/2 200 OK\r\n\r\n",
        b"HTTP/1.1 20 OK\r\n\r\n",
        b"HTTP/1.1 099 OK\r\n\r\n",
        b"HTTP/1.1  200 OK\r\n\r\n",
        b"http/1.1 200 OK\r\n\r\n",
        b"HTTP/1.0 101 Switching Protocols\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n: nameless\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA : blank before colon\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA: 1\r\n folded\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA: nul\0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA: cr\rx\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA: lf\nB: x\r\n\r\n",
        b"HTTP/1.1 200 OK\nA: 1\n\n",
        b"\r\nHTTP/1.1 200 OK\r\n\r\n",
        b"garbage",
    ],
)
def test_what_is_not_quite_http_is_refused(head):
    with pytest.raises(NotHttpError):
        read(head)
    with pytest.raises(NotHttpError):
        read(*(head[i : i + 1] for i in range(len(head))))


def test_a_head_is_bounded_to_the_byte():
    filler = HEAD_BYTES_MAX - len(b"HTTP/1.1 101 S\r\nA: \r\n\r\n")
    whole = b"HTTP/1.1 101 S\r\nA: " + b"x" * filler + b"\r\n\r\n"
    assert len(whole) == HEAD_BYTES_MAX
    assert read(whole).response is not None
    with pytest.raises(HeadTooLargeError):
        read(whole[:-4] + b"x\r\n\r\n")
    with pytest.raises(HeadTooLargeError):
        read(b"HTTP/1.1 103 Early\r\n\r\n" * 17)


HEAD = b"HTTP/1.1 503 Busy\r\n"
BODIES = [
    (b"Content-Length: 5\r\n\r\nhello, and more", b"hello", False),
    (b"Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello", b"hello", False),
    (b"Content-Length: 0\r\n\r\n", b"", False),
    (b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n", b"abcde", False),
    (b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nno size\r\n", b"abc", False),
    (b"\r\nuntil the end", b"until the end", True),
    (b"Content-Length: 9\r\nContent-Length: 5\r\n\r\nhello", b"hello", True),
    (b"Content-Length: lots\r\n\r\nhello", b"hello", True),
    (b"Content-Length: 99\r\n\r\nhello", b"hello", True),
    (b"Transfer-Encoding: chunked\r\n\r\n5\r\nhel", b"hel", True),
    (b"\r\n" + b"x" * 20_000, b"x" * BODY_BYTES_MAX, False),
    (b"Content-Length: 99999\r\n\r\n" + b"x" * 9000, b"x" * BODY_BYTES_MAX, False),
]


@pytest.mark.parametrize(("rest", "body", "needs_eof"), BODIES)
@pytest.mark.parametrize("step", [1, 7, 1 << 20])
def test_bodies(rest, body, needs_eof, step):
    reader, data = ResponseReader(), HEAD + rest
    done = any(reader.feed(data[i : i + step]) for i in range(0, len(data), step))
    assert done is not needs_eof
    if needs_eof:
        assert reader.eof()
    assert reader.response is not None
    assert (reader.response.status, reader.response.body) == (503, body)


@given(st.integers(0, 90), st.integers(0, 90))
def test_cuts_do_not_matter_and_the_rest_is_left_over(first, second):
    data = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 101 S\r\nUpgrade: x\r\n\r\n\x81\x01a"
    low, high = sorted((first, second))
    reader = ResponseReader()
    rest = b""
    for chunk in (data[:low], data[low:high], data[high:]):
        if reader.response is not None:
            rest += chunk
        else:
            reader.feed(chunk)
    assert reader.response is not None
    assert reader.rest + rest == b"\x81\x01a"


def test_a_tunnel_has_no_body():
    reader = read(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nafter", tunnel=True)
    assert reader.rest == b"after"


def test_an_end_before_the_head_is_no_answer():
    reader = read(b"HTTP/1.1 200 OK\r\n")
    assert not reader.eof()
    assert reader.salvage() is None
    assert reader.partial == b"HTTP/1.1 200 OK\r\n"


def upgraded(*lines: bytes) -> bytes:
    base = [b"HTTP/1.1 101 S", b"Upgrade: websocket", b"Connection: Upgrade"]
    accept = b"Sec-WebSocket-Accept: " + accept_for(KEY)
    return b"\r\n".join([*base, accept, *lines, b"", b""])


def test_the_key_of_the_rfc_has_the_answer_of_the_rfc():
    assert accept_for(KEY) == b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="


NONE, UNOFFERED = Violation.SUBPROTOCOL_NONE, Violation.SUBPROTOCOL_UNOFFERED
MALFORMED, EXTENSION = Violation.SUBPROTOCOL_MALFORMED, Violation.EXTENSION


@pytest.mark.parametrize(
    ("lines", "offered", "extensions", "bits"),
    [
        ((), (), "", 0),
        ((), ("a",), "", NONE),
        ((b"sec-websocket-protocol: a",), ("b", "a"), "", 0),
        ((b"Sec-WebSocket-Protocol: A",), ("a",), "", UNOFFERED),
        ((b"Sec-WebSocket-Protocol: a",), (), "", UNOFFERED),
        ((b"Sec-WebSocket-Protocol:",), ("a",), "", MALFORMED),
        ((b"Sec-WebSocket-Protocol: a,",), ("a",), "", MALFORMED),
        ((b"Sec-WebSocket-Extensions: permessage-deflate",), (), DEFLATE, 0),
        ((b"Sec-WebSocket-Extensions: permessage-deflate",), (), "", EXTENSION),
        ((b"Sec-WebSocket-Extensions: permessage-deflate",), (), "x-other", EXTENSION),
        ((b"Sec-WebSocket-Extensions: x-other",), (), DEFLATE, EXTENSION),
        ((b"Sec-WebSocket-Extensions: permessage-deflate; nonsense",), (), DEFLATE, EXTENSION),
        ((b"Sec-WebSocket-Extensions: =;=",), (), DEFLATE, EXTENSION),
        ((b"Sec-WebSocket-Extensions: permessage-deflate",) * 2, (), DEFLATE, EXTENSION),
        ((b"Sec-WebSocket-Accept: twice",), (), "", Violation.ACCEPT),
        ((b"Upgrade: websocket",), (), "", Violation.UPGRADE),
    ],
)
def test_violations(lines, offered, extensions, bits):
    response = parse_head(upgraded(*lines))
    found, words = violations(response, Facts(KEY, offered, extensions))
    assert found == bits
    assert bool(words) is bool(bits)
    if not bits:
        assert (deflate_of(response) is not None) is any(b"deflate" in line for line in lines)


def test_every_violation_is_told_at_once():
    response = parse_head(b"HTTP/1.1 101 S\r\n\r\n")
    bits, words = violations(response, Facts(KEY))
    assert bits == Violation.UPGRADE | Violation.CONNECTION | Violation.ACCEPT
    assert words.count("missing") == 3
