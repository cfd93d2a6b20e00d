"""The link between the front and a process behind it: packets in order, some with a socket.

A pair of Unix sockets of the kind SOCK_SEQPACKET, which keeps order and boundaries; a packet
is (word, number, body) in MessagePack and may carry one open socket (SCM_RIGHTS, unix(7)).
A question has a number, and its answer bears the same. Each question has a deadline, and
what waits to be sent has a bound: a peer that meets neither is lost, as one that has ended.
A socket for which no descriptor is left is closed by the kernel; its packet comes without.
"""

from __future__ import annotations

import array
import asyncio
import socket
from collections import deque
from typing import TYPE_CHECKING, Any, Final

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable

    Answered = Callable[[Any], None]

PACKET_BYTES_MAX: Final = 64 * 1024
UNSENT_MAX: Final = 10_000  # packets
ANSWER_S_MAX: Final = 15.0
ANSWER: Final = "answer"
_PER_TURN: Final = 64  # packets; then the loop's other sockets have their turn
_FD_BYTES: Final = array.array("i").itemsize


def pair() -> tuple[socket.socket, socket.socket]:
    """The two ends."""
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)


class Link:
    """One end. `take` gets each packet that is no answer, `lost` is called once, with why.

    A socket that comes along belongs to `take`, one that is sent is closed here after it.
    """

    def __init__(
        self,
        sock: socket.socket,
        take: Callable[[str, int, Any, socket.socket | None], None],
        lost: Callable[[str], None],
    ) -> None:
        self._sock = sock
        self._take = take
        self._lost = lost
        self._loop = asyncio.get_running_loop()
        self._unsent: deque[tuple[bytes, socket.socket | None]] = deque()
        self._asked: dict[int, tuple[Answered, asyncio.TimerHandle]] = {}
        self._number = 0
        self._over = False
        self._encode = msgspec.msgpack.Encoder().encode
        self._decode = msgspec.msgpack.Decoder(tuple[str, int, Any]).decode
        sock.setblocking(False)
        self._loop.add_reader(sock, self._receive)

    def tell(self, word: str, body: object = None, passed: socket.socket | None = None) -> None:
        """Send what needs no answer."""
        self._send(word, 0, body, passed)

    def ask(self, word: str, answered: Answered, body: object = None) -> None:
        """Send a question; `answered` gets the body of the answer."""
        self._number += 1
        timer = self._loop.call_later(ANSWER_S_MAX, self._lose, "it does not answer")
        self._asked[self._number] = answered, timer
        self._send(word, self._number, body)

    def answer(self, number: int, body: object) -> None:
        """Answer the question of that number."""
        self._send(ANSWER, number, body)

    @property
    def unsent(self) -> int:
        """How many packets wait to be sent."""
        return len(self._unsent)

    def close(self) -> None:
        """Be done with it; the other end sees that."""
        if self._over:
            return
        self._over = True
        self._loop.remove_reader(self._sock)
        self._loop.remove_writer(self._sock)
        for _, timer in self._asked.values():
            timer.cancel()
        for _, passed in self._unsent:
            if passed is not None:
                passed.close()
        self._unsent.clear()
        self._sock.close()

    def _lose(self, why: str) -> None:
        if not self._over:
            self.close()
            self._lost(why)

    def _send(
        self, word: str, number: int, body: object, passed: socket.socket | None = None
    ) -> None:
        if self._over:
            if passed is not None:
                passed.close()
            return
        packet = self._encode((word, number, body)), passed
        if not self._unsent:
            if self._wrote(*packet):
                return
            self._loop.add_writer(self._sock, self._send_more)
        self._unsent.append(packet)
        if len(self._unsent) > UNSENT_MAX:
            self._lose("it does not read")

    def _send_more(self) -> None:
        while self._unsent and self._wrote(*self._unsent[0]):
            if self._over:
                return
            self._unsent.popleft()
        if not self._unsent:
            self._loop.remove_writer(self._sock)

    def _wrote(self, data: bytes, passed: socket.socket | None) -> bool:
        """Whether nothing is left to do for this packet: it was sent, or the link is over."""
        beside = []
        if passed is not None:
            beside = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [passed.fileno()]))]
        try:
            self._sock.sendmsg([data], beside)
        except BlockingIOError:
            return False
        except ConnectionError:
            self._lose("it has ended")
        except OSError as error:
            self._lose(f"nothing can be sent to it ({error.strerror})")
        if passed is not None:
            passed.close()
        return True

    def _receive(self) -> None:
        for _ in range(_PER_TURN):
            if self._over:
                return
            beside: list[tuple[int, int, bytes]] = []
            flags = 0
            try:
                data, beside, flags, _ = self._sock.recvmsg(
                    PACKET_BYTES_MAX, socket.CMSG_SPACE(_FD_BYTES)
                )
            except BlockingIOError:
                return
            except OSError:
                data = b""
            if not data:
                self._lose("it has ended")
                return
            passed = _passed(beside)
            if flags & socket.MSG_TRUNC:
                if passed is not None:
                    passed.close()
                self._lose("it sent a packet beyond the bound")
                return
            self._read(data, passed)

    def _read(self, data: bytes, passed: socket.socket | None) -> None:
        word, number, body = self._decode(data)
        if word != ANSWER:
            return self._take(word, number, body, passed)
        answered, timer = self._asked.pop(number)
        timer.cancel()
        return answered(body)


def _passed(beside: list[tuple[int, int, bytes]]) -> socket.socket | None:
    """The socket that came with a packet."""
    for level, kind, data in beside:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            fds = array.array("i")
            fds.frombytes(data[:_FD_BYTES])
            return socket.socket(fileno=fds[0])
    return None
