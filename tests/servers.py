"""Servers that behave as tests need it, mostly badly: threads on loopback, each connection one.

A `Server` counts what it accepts and gives every connection to a function with the socket;
leaving the context closes all of them. The functions below speak just enough HTTP and
WebSocket to misbehave in one exact way.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import re
import socket
import struct
import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
IDLE_S = 60.0

JWT = re.compile(rb"eyJ[\w-]{8,}\.")  # three letters of base64 come by chance elsewhere


class Server:
    """`port`, `accepted` (connections so far), `most` (open at one time), `heads` (requests)."""

    def __init__(
        self,
        serve: Callable[[Server, socket.socket], object],
        tls: ssl.SSLContext | None = None,
        port: int = 0,
    ):
        self._serve: Callable[[Server, socket.socket], object] = serve
        self._tls = tls
        self._lock = threading.Lock()
        self._socks: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._listener = socket.create_server(("127.0.0.1", port), backlog=256)
        self.port = self._listener.getsockname()[1]
        self.accepted = 0
        self.open = 0
        self.most = 0
        self.heads: list[bytes] = []
        self.errors: list[BaseException] = []
        self.over = threading.Event()

    def __enter__(self):
        self._accepting = threading.Thread(target=self._accept, daemon=True)
        self._accepting.start()
        return self

    def __exit__(self, *_):
        self.stop()

    def stop(self):
        """Close the listener and every connection, and wait for all threads."""
        self.over.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        with self._lock:
            socks = list(self._socks)
        for sock in socks:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        self._accepting.join(5)
        for thread in self._threads:
            thread.join(5)

    def _accept(self):
        while not self.over.is_set():
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            with self._lock:
                self.accepted += 1
                self.open += 1
                self.most = max(self.most, self.open)
                self._socks.add(sock)
            thread = threading.Thread(target=self._one, args=(sock,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _one(self, raw: socket.socket):
        sock = raw
        try:
            raw.settimeout(IDLE_S)
            raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._tls is not None:
                sock = self._tls.wrap_socket(raw, server_side=True)
            self._serve(self, sock)
        except OSError:
            pass  # the client went, or the test is over
        except Exception as error:  # noqa: BLE001 -- the test looks at it
            self.errors.append(error)
        finally:
            sock.close()
            with self._lock:
                self.open -= 1
                self._socks.discard(raw)


# --- HTTP and WebSocket, as little as it takes ---


def read_head(server: Server, sock: socket.socket) -> bytes:
    """The head of one request, up to its empty line; OSError at the end of the stream."""
    head = b""
    while b"\r\n\r\n" not in head:
        chunk = sock.recv(65536)
        if not chunk:
            raise ConnectionError
        head += chunk
    server.heads.append(head)
    return head


def header(head: bytes, name: str) -> str:
    """The value of a header, "" without it."""
    for line in head.decode("latin-1").split("\r\n")[1:]:
        key, _, value = line.partition(":")
        if key.lower() == name.lower():
            return value.strip()
    return ""


def switch(head: bytes, *, subprotocol: str | None = None) -> bytes:
    """The 101 to a request; without `subprotocol` the first offer is chosen."""
    key = header(head, "Sec-WebSocket-Key").encode()
    accept = base64.b64encode(hashlib.sha1(key + GUID).digest()).decode()
    lines = [
        "HTTP/1.1 101 Switching Protocols",
        "Upgrade: websocket",
        "Connection: Upgrade",
        f"Sec-WebSocket-Accept: {accept}",
    ]
    offers = header(head, "Sec-WebSocket-Protocol")
    chosen = offers.partition(",")[0].strip() if subprotocol is None else subprotocol
    if chosen:
        lines.append(f"Sec-WebSocket-Protocol: {chosen}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def answer(status: int, body: bytes = b"", *headers: str) -> bytes:
    """An HTTP answer that ends the connection."""
    lines = [f"HTTP/1.1 {status} X", f"Content-Length: {len(body)}", "Connection: close", *headers]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


def frame(opcode: int, payload: bytes = b"") -> bytes:
    """One unmasked frame."""
    size = len(payload)
    if size < 126:
        return bytes([0x80 | opcode, size]) + payload
    return bytes([0x80 | opcode, 126]) + struct.pack(">H", size) + payload


def text(message: object) -> bytes:
    """A text frame, of JSON unless it is a str."""
    data = message if isinstance(message, str) else json.dumps(message)
    return frame(1, data.encode())


def close_frame(code: int, reason: bytes = b"") -> bytes:
    return frame(8, struct.pack(">H", code) + reason)


def _exactly(sock: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        chunk = sock.recv(size - len(data))
        if not chunk:
            raise ConnectionError
        data += chunk
    return data


def read_frame(sock: socket.socket) -> tuple[int, bytes]:
    """Opcode and payload of one masked frame."""
    first, second = _exactly(sock, 2)
    size = second & 0x7F
    if size == 126:
        (size,) = struct.unpack(">H", _exactly(sock, 2))
    mask = _exactly(sock, 4)
    payload = bytes(byte ^ mask[i % 4] for i, byte in enumerate(_exactly(sock, size)))
    return first & 0x0F, payload


# --- what a connection gets ---


def silent(server: Server, sock: socket.socket):
    """TCP is accepted; nothing is ever answered."""
    while sock.recv(65536):
        pass


def closes_at_once(server: Server, sock: socket.socket):
    """TCP is accepted and ended."""


def echo(server: Server, sock: socket.socket):
    """A good echo service, with health at every other request."""
    head = read_head(server, sock)
    if not header(head, "Upgrade"):
        sock.sendall(answer(200, b'{"status":"healthy"}', "Content-Type: application/json"))
        return
    sock.sendall(switch(head))
    while True:
        opcode, payload = read_frame(sock)
        if opcode == 8:
            sock.sendall(frame(8, payload[:2]))
            return
        sock.sendall(frame({9: 10}.get(opcode, opcode), payload))


def slow_close(delay_s: float):
    """A good echo service that answers a Close only after a while."""

    def serve(server: Server, sock: socket.socket):
        sock.sendall(switch(read_head(server, sock)))
        while True:
            opcode, payload = read_frame(sock)
            if opcode == 8:
                server.over.wait(delay_s)
                sock.sendall(frame(8, payload[:2]))
                return
            sock.sendall(frame({9: 10}.get(opcode, opcode), payload))

    return serve


def deaf(server: Server, sock: socket.socket):
    """101, and then nothing, not even to a Close."""
    sock.sendall(switch(read_head(server, sock)))
    while sock.recv(65536):
        pass


def says(*frames: bytes):
    """101 and all of these frames in one write; then it answers pings and a Close."""

    def serve(server: Server, sock: socket.socket):
        sock.sendall(switch(read_head(server, sock)) + b"".join(frames))
        while True:
            opcode, payload = read_frame(sock)
            if opcode == 8:
                sock.sendall(frame(8, payload[:2]))
                return
            if opcode == 9:
                sock.sendall(frame(10, payload))

    return serve


def echoes_head(kind: str):
    """What the client sent comes back: in an error `body`, a close `reason`, or a `message`.

    Pieces of the head come in several messages, so that a secret is cut in the middle.
    """

    def serve(server: Server, sock: socket.socket):
        head = read_head(server, sock)
        if kind == "body":
            sock.sendall(
                answer(401, head + b"\n" + head[len(head) // 2 :], "X-Seen: " + _line(head))
            )
            return
        sock.sendall(switch(head))
        if kind == "first":
            head = b"\n".join(read_frame(sock)[1] for _ in range(1))
        if kind == "reason":
            offered = _line(head).encode()
            sock.sendall(close_frame(4401, offered[-100:]))
        else:
            for start in range(0, len(head), 61):
                sock.sendall(frame(1, head[start : start + 97].replace(b"\r\n", b" ")))
            sock.sendall(text({"type": "error", "you_sent": head.decode("latin-1")}))
            sock.sendall(close_frame(1008, head[:40].replace(b"\r\n", b" ")))
        while read_frame(sock)[0] != 8:
            pass

    return serve


def _line(head: bytes) -> str:
    return header(head, "Sec-WebSocket-Protocol") or header(head, "Authorization") or "nothing"


def free_port() -> int:
    """A port on which nothing listens just now."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def until(what: Callable[[], object], *, within_s: float = 20.0):
    """Poll until it returns something true, and return that."""
    deadline = time.monotonic() + within_s
    while not (found := what()):
        assert time.monotonic() < deadline, "not in time"
        time.sleep(0.01)
    return found
