"""The fast lane with its reference gives what the reference alone gives."""

from __future__ import annotations

import itertools
import zlib

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from websockets.extensions.permessage_deflate import PerMessageDeflate
from websockets.frames import Frame, Opcode
from websockets.protocol import Protocol, Side

from probe.wire.frames import BINARY, CLOSE, PING, PONG, TEXT, FrameReader, encode
from probe.wire.reference import FAILED, FRAGMENTS_MAX, REFUSED_CLOSE

TOO_BIG = 1009


def deflate():
    return PerMessageDeflate(False, False, 15, 15)


class Sink:
    def __init__(self):
        self.events = []
        self.on_message = None

    def messages(self, t, opcode, payloads):
        assert payloads
        assert all(type(payload) is bytes for payload in payloads)
        self.events += [(opcode, 0, payload) for payload in payloads]
        if self.on_message:
            self.on_message()

    def on_odd(self, t, event):
        self.events.append(event)


def by_us(chunks, limit, extension=None):
    sink = Sink()
    reader = FrameReader(limit, extension)
    for chunk in chunks:
        reader.feed(7, chunk, sink.messages, sink)
    return [normal(event) for event in sink.events]


def normal(event):
    """What the reference can tell: it loses the code of a refused Close."""
    kind, code, data = event
    if kind == REFUSED_CLOSE:
        return (FAILED, 1002, b"invalid status code")
    return (FAILED, TOO_BIG, b"") if (kind, code) == (FAILED, TOO_BIG) else (kind, code, data)


def by_reference(stream, limit, extension=None):
    """`websockets` alone, fed at once, with the checks its own connection adds on top."""
    protocol = Protocol(Side.CLIENT, max_size=limit)
    protocol.extensions = [extension] if extension else []
    protocol.receive_data(stream)
    events, parts, opcode = [], [], 0
    for frame in protocol.events_received():
        assert isinstance(frame, Frame)
        if frame.opcode in (Opcode.PING, Opcode.PONG):
            events.append((int(frame.opcode), 0, bytes(frame.data)))
        elif frame.opcode is Opcode.CLOSE:
            close = protocol.close_rcvd
            assert close is not None
            events.append((CLOSE, int(close.code), close.reason.encode()))
        else:
            opcode = opcode if frame.opcode is Opcode.CONT else int(frame.opcode)
            parts.append(bytes(frame.data))
            if frame.fin:
                payload, parts = b"".join(parts), []
                try:
                    opcode == TEXT and payload.decode()
                except UnicodeDecodeError as error:
                    why = f"{error.reason} at position {error.start}"
                    return [*events, (FAILED, 1007, why.encode())]
                events.append((opcode, 0, payload))
    if protocol.parser_exc is not None:
        sent = protocol.close_sent
        assert sent is not None
        events.append(normal((FAILED, int(sent.code), str(protocol.parser_exc).encode())))
    return events


def server_frame(first, payload, length_bytes=0, masked=False):
    size = len(payload)
    if length_bytes == 0 and size < 126:
        head = bytes((first, size))
    elif length_bytes <= 2 and size < 65536:
        head = bytes((first, 126)) + size.to_bytes(2)
    else:
        head = bytes((first, 127)) + size.to_bytes(8)
    if masked:
        head = bytes((head[0], head[1] | 0x80)) + head[2:] + bytes(4)
    return head + payload


texts = st.text(max_size=12).map(str.encode)
payloads = st.one_of(
    texts,
    st.binary(max_size=20),
    st.sampled_from([b"", b"x" * 125, b"y" * 126, b"z" * 300, b"w" * 65536, "é".encode() * 70]),
)
closes = st.one_of(
    st.just(b""),
    st.builds(
        lambda code, why: code.to_bytes(2) + why,
        st.sampled_from([0, 999, 1000, 1001, 1004, 1005, 1006, 1011, 1015, 2999, 3000, 4999, 5000]),
        st.one_of(texts, st.sampled_from([b"\xff", b"q" * 130])),
    ),
    st.binary(max_size=3),
)


def compressed(payload):
    encoder = zlib.compressobj(wbits=-15)
    return (encoder.compress(payload) + encoder.flush(zlib.Z_SYNC_FLUSH))[:-4]


good = st.one_of(
    st.builds(server_frame, st.just(0x81), texts),
    st.builds(server_frame, st.just(0x82), payloads),
    st.builds(server_frame, st.just(0x81), st.sampled_from([b"a" * 126, "ü".encode() * 99])),
    st.builds(server_frame, st.sampled_from([0x89, 0x8A]), st.binary(max_size=9)),
)
parts = st.builds(
    lambda first, pieces, ping: b"".join(
        server_frame((0x80 if i == len(pieces) - 1 else 0) | (first if i == 0 else 0), piece)
        + (server_frame(0x89, b"in between") if ping else b"")
        for i, piece in enumerate(pieces)
    ),
    st.sampled_from([TEXT, BINARY]),
    st.lists(st.one_of(texts, st.binary(max_size=5)), min_size=1, max_size=4),
    st.booleans(),
)
unfinished = st.builds(
    lambda first, piece, more, then: b"".join(
        (server_frame(first, piece), *(server_frame(0, p) for p in more), then)
    ),
    st.sampled_from([TEXT, BINARY]),
    st.sampled_from([b"", b"ab", b"x" * 120]),
    st.lists(st.sampled_from([b"c", b"y" * 100]), max_size=2),
    st.sampled_from([b"", b"\x81\x02hi", b"\x82\x00", b"\x00\x78zz", b"\x89\x7d", b"\x88\x00"]),
)
packed = st.builds(
    lambda payload: server_frame(0xC1, compressed(payload)),
    st.one_of(texts, st.just(b"bomb" * 5000)),
)
anything = st.builds(
    server_frame,
    st.integers(0, 255),
    payloads,
    st.sampled_from([0, 2, 8]),
    st.sampled_from([False, False, False, True]),
)
huge = st.builds(
    lambda first, size: bytes((first, 127)) + size.to_bytes(8),
    st.sampled_from([0x81, 0x82, 0x01, 0x89]),
    st.sampled_from([2**63 - 1, 2**63, 2**64 - 1, 301]),
)
streams = st.lists(
    st.one_of(
        good,
        good,
        good,
        parts,
        unfinished,
        packed,
        anything,
        st.builds(server_frame, st.just(0x88), closes),
        huge,
        st.binary(min_size=1, max_size=6),
    ),
    max_size=7,
).map(b"".join)
limits = st.sampled_from([4, 125, 230, 300, 1 << 20])


@st.composite
def chunked(draw):
    stream = draw(streams)
    if stream and draw(st.booleans()):  # one byte changed
        at = draw(st.integers(0, min(len(stream) - 1, 400)))
        stream = (
            stream[:at] + bytes((stream[at] ^ (1 << draw(st.integers(0, 7))),)) + stream[at + 1 :]
        )
    if draw(st.integers(0, 3)) == 0:
        stream = stream[: draw(st.integers(0, len(stream)))]
    if len(stream) < 600 and draw(st.integers(0, 3)) == 0:
        return [stream[i : i + 1] for i in range(len(stream))]
    cuts = sorted(draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    edges = [0, *cuts, len(stream)]
    return [stream[a:b] for a, b in itertools.pairwise(edges)]


@settings(max_examples=600, deadline=None)
@given(chunked(), limits, st.booleans())
def test_any_stream_in_any_chunks_gives_the_events_of_the_reference(chunks, limit, packed):
    check_as_the_reference(chunks, limit, packed)


def check_as_the_reference(chunks, limit, packed):
    stream = b"".join(chunks)
    ours = by_us(chunks, limit, deflate() if packed else None)
    expected = by_reference(stream, limit, deflate() if packed else None)
    if ours[-1:] and ours[-1][0] == FAILED and ours[:-1] == expected:
        # The last frame is refused for its header, where the reference waits for its end.
        expected = by_reference(stream + bytes(1 << 17), limit, deflate() if packed else None)
    assert ours == expected


frames = st.one_of(
    st.builds(
        server_frame,
        st.sampled_from([0x81, 0x81, 0x81, 0x82, 0x01, 0x80, 0xC1]),
        st.one_of(
            payloads,
            st.integers(120, 130).map(lambda size: b"s" * size),
            st.sampled_from([b"\xff", b"x" * 124 + b"\xc3", "ü".encode() * 62]),
        ),
        st.sampled_from([0, 0, 2, 8]),
        st.sampled_from([False, False, False, True]),
    ),
    st.builds(server_frame, st.just(0x88), closes),
)


@settings(max_examples=300, deadline=None)
@given(st.lists(frames, max_size=5), limits, st.booleans())
@example([b"\x01\x01a", b"\x81\x01b", b"\x80\x00"], 300, False)
@example([b"\x81\x01a\x01\x01b", b"\x80\x01c"], 300, False)
@example([server_frame(0x88, (1000).to_bytes(2)), b"\x81\x01b"], 300, False)
@example([server_frame(0x81, b"x" * 126), server_frame(0x81, b"x" * 5, 2)], 125, False)
@example([server_frame(0x81, b"x" * 127, 8), b"\x81\xfe" + b"x" * 254], 300, False)
def test_a_frame_alone_in_its_read_gives_the_events_of_the_reference(reads, limit, packed):
    check_as_the_reference(reads, limit, packed)


@given(st.lists(st.tuples(st.sampled_from([TEXT, BINARY]), texts), max_size=9), st.data())
def test_plain_messages_arrive_and_no_reference_is_made(messages, data):
    stream = b"".join(server_frame(0x80 | opcode, payload) for opcode, payload in messages)
    cut = data.draw(st.integers(0, len(stream)))
    sink, reader = Sink(), FrameReader(1000)
    reader.feed(1, stream[:cut], sink.messages, sink)
    reader.feed(2, stream[cut:], sink.messages, sink)
    assert sink.events == [(opcode, 0, payload) for opcode, payload in messages]
    assert reader._reference is None


def test_the_fast_lane_takes_over_again_behind_a_fragmented_message():
    first = server_frame(0x01, b"a") + server_frame(0x80, b"b") + server_frame(0x81, b"c")
    sink, reader = Sink(), FrameReader(1000)
    reader.feed(1, first, sink.messages, sink)
    made = reader._reference
    assert made is not None
    fed: list[bytes] = []
    made._protocol.receive_data = fed.append  # type: ignore[method-assign, assignment]
    reader.feed(1, server_frame(0x82, b"d"), sink.messages, sink)
    assert not fed
    assert [payload for _, _, payload in sink.events] == [b"ab", b"c", b"d"]


def test_a_refused_close_code_is_named():
    sink, reader = Sink(), FrameReader(1000)
    reader.feed(1, server_frame(0x88, (1006).to_bytes(2) + b"why"), sink.messages, sink)
    assert sink.events == [(REFUSED_CLOSE, 1006, b"")]
    assert reader.stopped


def test_nothing_is_delivered_once_the_owner_has_stopped_it():
    sink, reader = Sink(), FrameReader(1000)
    sink.on_message = lambda: setattr(reader, "stopped", True)
    ping, binary = server_frame(0x89, b""), server_frame(0x82, b"b")
    reader.feed(1, server_frame(0x81, b"a") * 2 + binary + ping, sink.messages, sink)
    assert sink.events == [(TEXT, 0, b"a")] * 2  # one call: who takes many stops by itself
    reader.feed(2, binary, sink.messages, sink)
    assert len(sink.events) == 2


def test_a_length_beyond_the_limit_fails_without_waiting_for_the_payload():
    head = bytes((0x82, 127)) + (2**63 - 1).to_bytes(8)
    assert by_us([head[:9]], 1000) == []
    assert by_us([head], 1000) == [(FAILED, TOO_BIG, b"")]


@pytest.mark.parametrize(
    ("begun", "code"),
    [
        (b"HTTP/1.1 101 Switching Protocols\r\n\r\n", 1002),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 1002),
        (b"\xc1\x05", 1002),
        (b"\x89\x7e\x00\x7e", 1002),
        (b"\x09\x05", 1002),
        (b"\x80\x05", 1002),
        (b"\x01\x01a\x81\x05", 1002),
        (b"\x8f\x7f", 1002),
    ],
)
def test_a_frame_that_its_header_dooms_is_not_waited_for(begun, code):
    assert [event[:2] for event in by_us([begun], 1000)] == [(FAILED, code)]


def test_fragments_have_a_bound_of_their_own():
    """Empty ones never reach the limit of bytes."""
    sink, reader = Sink(), FrameReader(1000)
    reader.feed(1, b"\x01\x00" + b"\x00\x00" * (FRAGMENTS_MAX - 1), sink.messages, sink)
    assert not reader.stopped
    reader.feed(1, b"\x00\x00" * 9, sink.messages, sink)
    assert [event[:2] for event in sink.events] == [(FAILED, TOO_BIG)]
    assert reader.stopped


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65535, 65536])
@pytest.mark.parametrize("opcode", [TEXT, BINARY, PING, PONG, CLOSE])
def test_what_we_encode_a_server_reads(opcode, size):
    if opcode > BINARY and size > 125:
        pytest.skip("control frames are short")
    payload = (4000).to_bytes(2) + b"x" * (size - 2) if opcode == CLOSE else b"x" * size
    if opcode == CLOSE and size == 1:
        payload = b""
    server = Protocol(Side.SERVER, max_size=None)
    server.receive_data(encode(opcode, payload))
    assert server.parser_exc is None
    (frame,) = server.events_received()
    assert isinstance(frame, Frame)
    assert (frame.opcode, bytes(frame.data), frame.fin) == (opcode, payload, True)


def test_masks_differ():
    assert len({encode(TEXT, b"") for _ in range(50)}) > 40
