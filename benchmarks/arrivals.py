"""A WebSocket server that tells when each upgrade request arrived whole; a process of its own.

    python -m benchmarks.arrivals --core 1 [--pem FILE]

It prints its port. For each line on standard input it prints one line of JSON about the
connections since the last, [[kernel_ns, read_ns, ...]], closes them, and goes on.

The rule: an arrival is stamped by the kernel where the segment comes in (SO_TIMESTAMPNS), which
on loopback is within the sender's own system call; so how busy this process is does not enter.
`read_ns` is when this process had read it: what a service could know at the earliest, since it
reads one socket after the other (all that are ready are read before any is answered).
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import resource
import select
import socket
import ssl
import struct
import sys
import time

from probe.wire import accept_for

SO_TIMESTAMPNS = 35
LINGER = struct.pack("ii", 1, 0)
_STAMP = struct.Struct("qq")
_SPACE = socket.CMSG_SPACE(_STAMP.size)


class One:
    """One connection; `kernel_ns` (wall clock) and `read_ns` are of the head's last byte."""

    def __init__(self, sock: socket.socket, context: ssl.SSLContext | None) -> None:
        self.sock = sock
        self.head = b""
        self.kernel_ns = self.read_ns = 0
        self._tls: ssl.SSLObject | None = None
        self._ready = context is None
        if context is not None:
            self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
            self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)

    def read(self) -> bytes | None:
        """Take what is there, with its stamps; None once it is over."""
        try:
            data, notes, _, _ = self.sock.recvmsg(65536, _SPACE)
        except BlockingIOError:
            return b""
        except OSError:
            return None
        self._read_ns = time.perf_counter_ns()
        for level, kind, note in notes:
            if (level, kind) == (socket.SOL_SOCKET, SO_TIMESTAMPNS):
                seconds, rest = _STAMP.unpack(note[: _STAMP.size])
                self._kernel_ns = seconds * 1_000_000_000 + rest
        return data or None

    def take(self, data: bytes) -> None:
        """Work on what was read: answer the request once it is whole."""
        if self._tls is not None:
            data = self._decrypt(self._tls, data)
        if self.kernel_ns:
            return
        self.head += data
        if b"\r\n\r\n" in self.head:
            self.kernel_ns, self.read_ns = self._kernel_ns, self._read_ns
            self._send(_switch(self.head))

    def _decrypt(self, tls: ssl.SSLObject, data: bytes) -> bytes:
        self._incoming.write(data)
        plain = b""
        with contextlib.suppress(ssl.SSLWantReadError):
            if not self._ready:
                tls.do_handshake()
                self._ready = True
            while part := tls.read(65536):
                plain += part
        if self._outgoing.pending:
            self.sock.send(self._outgoing.read())
        return plain

    def _send(self, data: bytes) -> None:
        if self._tls is not None:
            self._tls.write(data)
            data = self._outgoing.read()
        self.sock.send(data)

    def close(self) -> None:
        """By a reset: nothing is left in TIME_WAIT for the rounds to come."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER)
        self.sock.close()


def _switch(head: bytes) -> bytes:
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"sec-websocket-key":
            return (
                b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                b"Sec-WebSocket-Accept: " + accept_for(value.strip()) + b"\r\n\r\n"
            )
    return b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"


class Arrivals:
    """The loop: everything that is ready is read before anything is answered."""

    def __init__(self, context: ssl.SSLContext | None) -> None:
        self._context = context
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=4096)
        self._listener.setblocking(False)
        # Sockets that are accepted inherit it.
        self._listener.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        self._poll = select.epoll()
        self._poll.register(self._listener, select.EPOLLIN)
        self._poll.register(sys.stdin, select.EPOLLIN)
        self._ones: dict[int, One] = {}
        print("port", self._listener.getsockname()[1], flush=True)

    def run(self) -> None:
        """Until standard input ends."""
        while True:
            got = []
            for fd, _ in self._poll.poll(maxevents=4096):
                if fd == self._listener.fileno():
                    self._accept()
                elif fd == sys.stdin.fileno():
                    if not sys.stdin.readline():
                        return
                    self._tell()
                    break
                elif (data := self._ones[fd].read()) is None:
                    self._drop(fd)
                else:
                    got.append((fd, data))
            for fd, data in got:
                if fd in self._ones:
                    try:
                        self._ones[fd].take(data)
                    except OSError:
                        self._drop(fd)

    def _accept(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while True:
                sock, _ = self._listener.accept()
                sock.setblocking(False)
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._ones[sock.fileno()] = One(sock, self._context)
                self._poll.register(sock, select.EPOLLIN)

    def _drop(self, fd: int) -> None:
        self._poll.unregister(fd)
        self._ones.pop(fd).sock.close()

    def _tell(self) -> None:
        told = [[one.kernel_ns, one.read_ns] for one in self._ones.values() if one.kernel_ns]
        for fd, one in self._ones.items():
            self._poll.unregister(fd)
            one.close()
        self._ones.clear()
        print(json.dumps(told), flush=True)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.arrivals")
    parser.add_argument("--core", type=int, required=True)
    parser.add_argument("--pem", help="certificate and key: then it speaks TLS")
    options = parser.parse_args()
    os.sched_setaffinity(0, {options.core})
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    context = None
    if options.pem:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(options.pem)
    Arrivals(context).run()


if __name__ == "__main__":
    main()
