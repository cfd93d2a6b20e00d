"""Starting the lab as a real process, and reading its ledger; used by test_lab_*.py."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from typing import TYPE_CHECKING, ClassVar

import aiohttp
import jwt

if TYPE_CHECKING:
    from pathlib import Path

SECRET = "a-secret-of-the-tests-0123456789abcdef"
ENDPOINTS = ["/ws", "/ws/factory", "/ws/isolated", "/ws/legacy", "/api/v1/websocket"]
EVENTS = ["agent_started", "agent_thinking", "tool_executing", "tool_completed", "agent_completed"]
AT_ONCE = "listening=0s,healthy=0s,ready=0s"
NEVER_READY = "listening=0s,healthy=0s,ready=1h"  # every test of the window is inside it
DEADLINE_S = 20.0
UPGRADE = {
    "Host": "lab",
    "Upgrade": "websocket",
    "Connection": "Upgrade",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": base64.b64encode(b"0123456789abcdef").decode(),
}


class Lab:
    """One started lab; leaving the context stops it and its standard error must be empty."""

    def __init__(self, folder: Path, *options: str, boot: str = AT_ONCE, ledger: str = "ledger"):
        self.ledger = folder / ledger
        self.stderr = folder / f"stderr-{time.perf_counter_ns()}"
        command = [sys.executable, "-m", "probe.lab", "--boot", boot, "--exit-with-parent"]
        with self.stderr.open("wb") as stderr:
            self.process = subprocess.Popen(
                [*command, "--ledger", str(self.ledger), *options],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                env={**os.environ, "PROBE_LAB_SECRET": SECRET},
            )

    def __enter__(self):
        assert self.process.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(self.process.stdout, selectors.EVENT_READ)
            assert selector.select(DEADLINE_S), "the lab said nothing"
        line = self.process.stdout.readline()
        assert line, self.stderr.read_text()
        self.hello = json.loads(line)
        self.address = (self.hello["host"], self.hello["port"])
        self.url = f"{'https' if self.hello['tls'] else 'http'}://127.0.0.1:{self.hello['port']}"
        return self

    def __exit__(self, kind, *_):
        self.stop(signal.SIGKILL if kind else signal.SIGTERM)
        if kind is None:
            assert self.stderr.read_text() == ""

    def stop(self, number=signal.SIGTERM):
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            return self.process.wait(DEADLINE_S)
        finally:
            self.process.kill()
            self.process.wait()
            for pipe in (self.process.stdin, self.process.stdout):
                assert pipe is not None
                pipe.close()

    def lines(self, event=None):
        # A line that is being written just now may be seen in part: that one is not there yet.
        whole, _, _ = self.ledger.read_text().rpartition("\n")
        lines = [json.loads(line) for line in whole.splitlines()]
        return [line for line in lines if event in (None, line["event"])]

    def phases(self):
        return {line["phase"]: line["t_ns"] for line in self.lines("phase")}

    def outcomes(self):
        return [(line["outcome"], line["status"]) for line in self.lines("handshake")]


def until(what, *, within_s=DEADLINE_S):
    """Poll until it returns something true, and return that."""
    deadline = time.monotonic() + within_s
    while not (found := what()):
        assert time.monotonic() < deadline, "not in time"
        time.sleep(0.01)
    return found


def token(key=SECRET, alg="HS256", **claims):
    base = {"sub": "ann", "aud": "probe-lab", "iss": "probe-lab", "exp": int(time.time()) + 60}
    kept = {name: value for name, value in {**base, **claims}.items() if value is not None}
    return jwt.encode(kept, key, alg)


def raw(lab, head):
    """Send bytes, read to the end of the stream: status, headers (a list), body."""
    with socket.create_connection(lab.address, DEADLINE_S) as sock:
        sock.sendall(head)
        answer = b""
        while chunk := sock.recv(65536):
            answer += chunk
    head, _, body = answer.partition(b"\r\n\r\n")
    first, *rest = head.decode().split("\r\n")
    return int(first.split()[1]), [tuple(line.split(": ", 1)) for line in rest], body


def request(path="/ws", headers=None, method="GET"):
    lines = [f"{name}: {value}" for name, value in {**UPGRADE, **(headers or {})}.items() if value]
    return "\r\n".join([f"{method} {path} HTTP/1.1", *lines, "", ""]).encode()


def run_async(main):
    async def bounded():
        async with asyncio.timeout(DEADLINE_S):
            await main()

    asyncio.run(bounded())


def in_a_session(main):
    """Run `main` with an HTTP session, and close after it what `Talk` opened."""

    async def opened():
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(connector=connector) as http:
            try:
                await main(http)
            finally:
                while Talk.opened:
                    await Talk.opened.pop().ws.close()

    run_async(opened)


def websocket(http, lab, path="/ws", **options):
    options.setdefault("headers", {"Authorization": f"Bearer {token()}"})
    return http.ws_connect(lab.url + path, **options)


class Talk:
    """One ready connection of a client that keeps all it gets, as (text, object)."""

    opened: ClassVar[list[Talk]] = []

    def __init__(self, ws, ready):
        self.opened.append(self)
        self.ws = ws
        self.ready = ready
        self.got = []
        self.pings = 0

    @classmethod
    async def open(cls, http, lab, user, path="/ws", **options):
        bearer = {"Authorization": f"Bearer {token(sub=user)}"}
        ws = await websocket(http, lab, path, headers=bearer, **options)
        return cls(ws, await ws.receive_json())

    @property
    def id(self):
        return self.ready["connection_id"]

    async def say(self, kind, **fields):
        await self.ws.send_json({"type": kind, **fields})

    async def next(self):
        message = await self.ws.receive()
        assert message.type is aiohttp.WSMsgType.TEXT, message
        self.got.append((message.data, json.loads(message.data)))
        return self.got[-1][1]

    async def read(self, events):
        """Read until that many events of runs have come, since the beginning."""
        left = events - len(self.events)
        while left > 0:
            left -= (await self.next())["type"] in EVENTS

    async def sync(self):
        """Read up to the answer to a ping of our own, the sentinel; returns what came before."""
        self.pings += 1
        name = f"sentinel-{self.pings}"
        await self.say("ping", id=name)
        start = len(self.got)
        while True:
            body = await self.next()
            if body["type"] == "pong" and body["id"] == name:
                self.got.pop()
                return [body for _, body in self.got[start:]]

    @property
    def events(self):
        """The events of runs among all that came."""
        return [body for _, body in self.got if body["type"] in EVENTS]


class Deaf:
    """A raw client that does not read until it is told to."""

    def __init__(self, lab, user):
        self.sock = socket.socket()
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8_192)
        self.sock.settimeout(DEADLINE_S)
        self.sock.connect(lab.address)
        bearer = {"Authorization": f"Bearer {token(sub=user)}"}
        self.sock.sendall(request(headers=bearer))
        self.stream = self.sock.makefile("rb")
        while self.stream.readline() != b"\r\n":
            pass
        self.ready = self.read()
        assert self.ready["type"] == "connection_ready"

    def read(self):
        head = self.stream.read(2)
        assert head[0] == 0x81, head
        size = head[1]
        if size == 126:
            size = int.from_bytes(self.stream.read(2), "big")
        return json.loads(self.stream.read(size))

    @property
    def id(self):
        return self.ready["connection_id"]

    def say(self, **message):
        body = json.dumps(message).encode()
        assert len(body) < 126
        self.sock.sendall(bytes((0x81, 0x80 | len(body))) + bytes(4) + body)

    def close(self):
        self.stream.close()
        self.sock.close()


async def runs_ended(http, lab, least=0):
    """How many runs have ended, once they are at least so many."""
    while True:
        ended = sum((await totals_of(http, lab))["events"].get("run", {}).values())
        if ended >= least:
            return ended
        await asyncio.sleep(0.005)


async def set_defects(http, lab, **wanted):
    async with http.post(lab.url + "/_lab/defects", json=wanted) as answer:
        assert answer.status == 200, await answer.text()


async def totals_of(http, lab):
    async with http.get(lab.url + "/_lab/ledger") as answer:
        assert answer.status == 200
        return await answer.json()


def recount(lines):
    """The totals once more, from the file alone."""
    label = {
        "phase": "phase",
        "handshake": "outcome",
        "close": "by",
        "fault": "kind",
        "hit": "defect",
        "overflow": "told",
        "revocation": "kind",
        "service": "outcome",
    }
    events: dict[str, Counter[str]] = {}
    for line in lines:
        match line["event"]:
            case "run":
                word = "completed" if line["completed"] else "broken"
            case "defects":
                word = "changed"
            case other:
                word = line[label[other]]
        events.setdefault(line["event"], Counter())[word] += 1
    phases = [line for line in lines if line["event"] == "phase" and not line.get("process")]
    return {
        "lines": len(lines),
        "phases": {line["phase"]: line["t_ns"] for line in phases},
        "events": events,
        "hits": dict(events.get("hit", {})),
        "events_sent": sum(line["sent"] for line in lines if line["event"] == "run"),
    }


def check_ledger(lab):
    """What must hold of any ledger: equal to its totals, ordered, complete, without a token."""

    async def main():
        async with aiohttp.ClientSession() as http:
            while True:  # until nothing was written in between
                lines = lab.lines()
                told = await totals_of(http, lab)
                if lines == lab.lines():
                    break
            assert {key: told[key] for key in recount(lines)} == recount(lines)

    run_async(main)
    text = lab.ledger.read_text()
    assert "eyJ" not in text
    assert SECRET not in text
    stamps: dict[int | None, list[int]] = {}  # each process has its own in order
    for line in lab.lines():
        stamps.setdefault(line.get("process"), []).append(line["t_ns"])
    assert all(each == sorted(each) for each in stamps.values())
