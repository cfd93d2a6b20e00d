"""What clients do with an answer, asked of the clients themselves.

A raw server gives one kind of answer; `websockets`, aiohttp, `ws` of npm and Chromium connect to
it, and what they do is what `probe.negotiation.clients` says. Who is not installed is skipped.
"""

import asyncio
import base64
import hashlib
import json
import os
import re
import shutil
import signal
import sys
import tempfile
from importlib import metadata
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import websockets

from probe.history.records import Violation
from probe.negotiation.answer import Answer
from probe.negotiation.clients import CLIENTS, VERSIONS, opinion, unsendable
from probe.negotiation.head import read_head

INSTALLED = Path(sys.prefix) / ".node" / "node_modules"
GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
DEADLINE_S = 20.0
HELD_S = 0.2
UP, CON, ACC = "Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Accept: {accept}"
WS = "Sec-WebSocket-Protocol: "
EXT = "Sec-WebSocket-Extensions: "
# kind: status, header lines, what the wire would say of them, close frame
ANSWERS = {
    "right": (101, (UP, CON, ACC, f"{WS}a"), 0),
    "second": (101, (UP, CON, ACC, f"{WS}b"), 0),
    "none": (101, (UP, CON, ACC), 0),
    "unoffered": (101, (UP, CON, ACC, f"{WS}z"), 0),
    "empty": (101, (UP, CON, ACC, WS), 0),
    "two_lines": (101, (UP, CON, ACC, f"{WS}a", f"{WS}b"), 0),
    "list": (101, (UP, CON, ACC, f"{WS}a, b"), 0),
    "folded": (101, (UP, CON, ACC, f"{WS}A"), 0),
    "wrong_accept": (101, (UP, CON, "Sec-WebSocket-Accept: AAAA"), Violation.ACCEPT),
    "no_accept": (101, (UP, CON), Violation.ACCEPT),
    "no_upgrade": (101, (CON, ACC), 0),
    "upgrade_wrong": (101, ("Upgrade: h2c", CON, ACC), 0),
    "no_connection": (101, (UP, ACC), 0),
    "connection_list": (101, (UP, "Connection: keep-alive, Upgrade", ACC), 0),
    "extension": (101, (UP, CON, ACC, f"{WS}a", f"{EXT}x-probe"), Violation.EXTENSION),
    "closed": (101, (UP, CON, ACC, f"{WS}a"), 0),
    "status": (403, ("Content-Length: 0",), 0),
}
OFFERS = {"two": ("a", "b"), "none": ()}
ODD = {"twice": ("a", "a"), "illegal": ("a", "b/c"), "cased": ("a", "A")}
EVERY = OFFERS | ODD
NODE = """
const WebSocket = require('ws');
const ask = ([name, url, offers]) => new Promise((done) => {
  let socket;
  try { socket = new WebSocket(url, offers, { perMessageDeflate: false }); } catch (error) {
    done([name, null, `${error.name}: ${error.message}`]);
    return;
  }
  socket.on('open', () => { done([name, true, socket.protocol]); socket.terminate(); });
  socket.on('error', (error) => done([name, false, error.message]));
});
Promise.all(JSON.parse(process.argv[1]).map(ask)).then((all) => console.log(JSON.stringify(all)));
"""


PAGE = """<script>
const ask = ([name, url, offers]) => new Promise((done) => {
  let socket;
  try { socket = new WebSocket(url, offers); } catch (error) {
    done([name, null, `${error.name}: ${error.message}`]);
    return;
  }
  socket.onopen = () => { done([name, true, socket.protocol]); socket.close(); };
  socket.onclose = (event) => done([name, false, 'close ' + event.code]);
});
const tell = (all) => fetch('/', { method: 'POST', body: JSON.stringify(all) });
Promise.all(CALLS.map(ask)).then(tell);
</script>"""
BROWSERS = ("chromium-headless-shell", "chromium", "google-chrome")


def answer_of(kind):
    status, lines, violations = ANSWERS[kind]
    head = read_head("\r\n".join([f"HTTP/1.1 {status} so", *lines, "", ""]).encode())
    if kind == "closed":
        return Answer("closed", 101, head, code=1003, reason=b"no", kept=True)
    return Answer(
        "accepted" if status == 101 else "status", status, head, violations=violations, kept=True
    )


async def serve(reader, writer):
    """The answer whose name is the path."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
        kind = head.split(b" ")[1].decode().strip("/")
        status, lines, _ = ANSWERS[kind]
        match = re.search(rb"(?i)sec-websocket-key: *(\S+)", head)
        assert match is not None
        accept = base64.b64encode(hashlib.sha1(match[1] + GUID).digest()).decode()
        text = "\r\n".join([f"HTTP/1.1 {status} so", *lines, "", ""])
        writer.write(text.replace("{accept}", accept).encode())
        if kind == "closed":
            writer.write(b"\x88\x04\x03\xebno")
        await writer.drain()
        await asyncio.sleep(HELD_S)
    except OSError:
        pass
    finally:
        writer.close()


async def by_websockets(url, offers):
    try:
        async with websockets.connect(
            url, subprotocols=list(offers) or None, compression=None, close_timeout=0.1
        ) as socket:
            return True, socket.subprotocol or ""
    except ValueError as error:
        return None, f"{type(error).__name__}: {error}"
    except (websockets.InvalidHandshake, websockets.InvalidMessage) as error:
        return False, f"{type(error).__name__}: {error}"


async def by_aiohttp(url, offers):
    try:
        async with (
            aiohttp.ClientSession() as session,
            session.ws_connect(
                url, protocols=offers, timeout=aiohttp.ClientWSTimeout(ws_close=0.1)
            ) as socket,
        ):
            return True, socket.protocol or ""
    except aiohttp.WSServerHandshakeError as error:
        return False, f"{type(error).__name__}: {error}"


async def by_ws(calls):
    """All at once in one process of Node: starting one takes longer than all of them."""
    process = await asyncio.create_subprocess_exec(
        "node", "-e", NODE, json.dumps(calls), env={"NODE_PATH": str(INSTALLED)},
        executable=shutil.which("node"), stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    return {tuple(name): (opens, said) for name, opens, said in json.loads(out)}


async def by_browser(calls):
    """All at once in one page of Chromium; nothing where there is none."""
    program = next(filter(None, map(shutil.which, BROWSERS)), None)
    if program is None:
        return {}
    told: asyncio.Future[list[Any]] = asyncio.get_running_loop().create_future()

    async def page(reader, writer):
        head = await reader.readuntil(b"\r\n\r\n")
        if head.startswith(b"POST"):
            size = re.search(rb"(?i)content-length: *(\d+)", head)
            assert size is not None
            told.set_result(json.loads(await reader.readexactly(int(size[1]))))
        body = PAGE.replace("CALLS", json.dumps(calls)).encode()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nConnection: close\r\n")
        writer.write(b"Content-Length: %d\r\n\r\n%s" % (len(body), body))
        await writer.drain()
        writer.close()

    with tempfile.TemporaryDirectory() as folder:
        async with await asyncio.start_server(page, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            process = await asyncio.create_subprocess_exec(
                program, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder}",
                "--remote-debugging-port=0", f"http://127.0.0.1:{port}/",
                stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
                start_new_session=True,
            )  # fmt: skip
            try:
                return {tuple(name): (opens, said) for name, opens, said in await told}
            finally:
                os.killpg(process.pid, signal.SIGKILL)  # it is several processes
                await process.wait()


async def _measure():
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    base = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    names = [(kind, offers) for kind in ANSWERS for offers in OFFERS]
    names += [("right", offers) for offers in ODD]
    found: dict[tuple[str, ...], tuple[bool | None, str]] = {}
    async with asyncio.timeout(DEADLINE_S), server:
        for client, ask in (("websockets", by_websockets), ("aiohttp", by_aiohttp)):
            said = await asyncio.gather(*(ask(f"{base}/{k}", EVERY[o]) for k, o in names))
            found |= {(client, *name): each for name, each in zip(names, said, strict=True)}
        calls = [[name, f"{base}/{name[0]}", EVERY[name[1]]] for name in names]
        seen = await by_browser(calls)
        found |= {("browser", *name): each for name, each in seen.items()}
        if INSTALLED.joinpath("ws").exists():
            found |= {("ws", *name): each for name, each in (await by_ws(calls)).items()}
    return found


@pytest.fixture(scope="module")
def measured():
    return asyncio.run(_measure())


@pytest.mark.parametrize("offers", OFFERS)
@pytest.mark.parametrize("kind", ANSWERS)
@pytest.mark.parametrize("client", CLIENTS)
def test_a_client_does_what_is_said_of_it(measured, client, kind, offers):
    if (client, kind, offers) not in measured:
        pytest.skip("no Chromium" if client == "browser" else "`make node_modules` was not run")
    opens, said = measured[client, kind, offers]
    thought = opinion(client, answer_of(kind), OFFERS[offers])
    assert thought.opens == opens, (said, thought)
    if opens:
        assert thought.subprotocol == said
        assert thought.words.startswith("opens")
    elif client == "browser":
        assert said == "close 1006"
        assert said in thought.words
    else:
        error = re.match(r"fails: ([A-Za-z]+)", thought.words)
        assert error is not None
        assert error[1] in said, (said, thought)


@pytest.mark.parametrize("offers", ODD)
@pytest.mark.parametrize("client", CLIENTS)
def test_a_client_offers_what_is_said_of_it(measured, client, offers):
    if (client, "right", offers) not in measured:
        pytest.skip("no Chromium" if client == "browser" else "`make node_modules` was not run")
    opens, said = measured[client, "right", offers]
    why = unsendable(client, (), ODD[offers])
    assert (opens is None) == bool(why), (said, why)
    for words in why:
        kind, _, text = words.partition(": ")[2].partition(", ")
        assert said.startswith(f"{kind}: ")
        assert text.split()[-1] in said
        assert not any(each in words for each in ("b/c", "'a'"))


@pytest.mark.parametrize("client", CLIENTS)
def test_only_a_browser_is_kept_from_headers(client):
    own = ("Authorization", "authorization", "X-Two", "Cookie", "ORIGIN")
    why = unsendable(client, own, ("a",))
    if client != "browser":
        assert not why
    else:
        assert len(why) == 1
        assert why[0].startswith("a browser cannot send the headers authorization, X-Two: ")
    assert not unsendable(client, ("Cookie", "origin"), ())


def test_the_versions_that_are_named_are_no_newer_than_those_that_are_here():
    here = {name: metadata.version(name) for name in ("websockets", "aiohttp")}
    package = INSTALLED / "ws" / "package.json"
    if package.exists():
        here["ws"] = json.loads(package.read_text())["version"]
    for client in CLIENTS:
        if client in here:
            named, found = VERSIONS[client], here[client]
            assert [*map(int, named.split("."))] <= [*map(int, found.split("."))], client
    assert set(VERSIONS) == set(CLIENTS)


BROWSER = {
    "right": True, "second": True, "none": False, "unoffered": False, "empty": False,
    "two_lines": False, "list": False, "folded": False, "wrong_accept": False,
    "no_accept": False, "no_upgrade": False, "upgrade_wrong": False, "no_connection": False,
    "connection_list": False, "extension": False, "closed": True, "status": False,
}  # fmt: skip


@pytest.mark.parametrize("kind", ANSWERS)
def test_a_browser_as_the_standard_has_it(kind):
    thought = opinion("browser", answer_of(kind), ("a", "b"))
    assert thought.opens == BROWSER[kind]
    if not thought.opens:
        assert "close 1006" in thought.words
    assert opinion("browser", answer_of("none"), ()).opens
    assert opinion("browser", answer_of("connection_list"), ()).opens


@pytest.mark.parametrize("client", CLIENTS)
def test_what_comes_after_the_101_is_told(client):
    words = opinion(client, answer_of("closed"), ("a",)).words
    assert words == 'opens, subprotocol a; then close 1003 (unsupported data) "no"'
    for way in ("silent", "dropped"):
        thought = opinion(client, Answer(way), ("a",))
        assert not thought.opens
        assert "without an HTTP answer" in thought.words
