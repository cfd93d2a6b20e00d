"""The page's server on real sockets: who may look, who may stop, and readers that do not read."""

import asyncio
import json
import socket
from contextlib import asynccontextmanager

import aiohttp
import pytest

from probe.cli import _filled
from probe.dashboard import server as serving
from probe.dashboard.door import open_door
from probe.dashboard.server import Server
from probe.errors import ConfigError
from tests.dashboard_views import view

TOKEN = serving.TOKEN


class Served:
    """One server, how often it was asked to stop, and a client."""

    def __init__(self, door, http):
        self.stops = 0
        self.door = door
        self.url = door.url
        self.http = http
        self.server = Server(door.sock, door.token, self.stop)

    def stop(self):
        self.stops += 1

    async def status(self, method, path, **headers):
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        async with self.http.request(method, self.url + path, headers=named) as answer:
            return answer.status

    @asynccontextmanager
    async def events(self):
        async with self.http.get(f"{self.url}events") as answer:
            assert answer.status == 200
            assert answer.content_type == "text/event-stream"
            yield answer.content


async def read(events):
    line = await asyncio.wait_for(events.readline(), 10)
    assert line.startswith(b"data: ")
    assert await events.readline() == b"\n"
    return json.loads(line[6:])


async def read_until(events, elapsed):
    while (await read(events))["elapsed"] != elapsed:
        pass


def served(what):
    async def whole():
        door = open_door(0)
        async with aiohttp.ClientSession() as http:
            found = Served(door, http)
            await found.server.start()
            try:
                await what(found)
            finally:
                await found.server.end()

    asyncio.run(asyncio.wait_for(whole(), 60))


def test_the_newest_view_comes_at_once_and_then_each_newer_one():
    async def what(found):
        found.server.put(view(elapsed="1 s"))
        async with found.events() as events:
            assert (await read(events))["elapsed"] == "1 s"
            found.server.put(view(elapsed="2 s"))
            assert (await read(events))["elapsed"] == "2 s"
            found.server.put(view(elapsed="3 s", verdict="PASS"), last=True)
            assert (await read(events))["verdict"] == "PASS"
            assert await events.read() == b""

    served(what)


def test_the_page_may_run_its_own_script_and_ask_its_own_server_alone():
    async def what(found):
        async with found.http.get(found.url) as answer:
            assert answer.status == 200
            text = await answer.text()
            rules = answer.headers["Content-Security-Policy"]
            assert answer.headers["Cache-Control"] == "no-store"
        assert "default-src 'none'" in rules
        assert "unsafe" not in rules
        assert "connect-src 'self'" in rules
        assert found.door.token not in text
        assert "%SCRIPT%" not in text
        assert await found.status("GET", "favicon.ico") == 200

    served(what)


def test_to_stop_takes_the_token():
    async def what(found):
        token = found.door.token
        for wrong in ("", "x", token[:-1], token + "x", "\u00fc"):
            assert await found.status("POST", "stop", **{TOKEN: wrong}) == 403
        assert await found.status("POST", "stop") == 403
        assert await found.status("GET", "stop", **{TOKEN: token}) == 405
        assert found.stops == 0
        assert await found.status("POST", "stop", **{TOKEN: token}) == 200
        assert found.stops == 1

    served(what)


@pytest.mark.parametrize("path", ["", "events", "stop", "favicon.ico", "nothing"])
def test_no_foreign_name_and_no_foreign_page_gets_anything(path):
    async def what(found):
        method = "POST" if path == "stop" else "GET"
        port = found.url.rstrip("/").rpartition(":")[2]
        token = {TOKEN: found.door.token}
        for foreign in (
            {"Host": "evil.example"}, {"Host": f"evil.example:{port}"}, {"Host": "127.0.0.1"},
            {"Host": "127.0.0.1:1"}, {"Origin": "http://evil.example"}, {"Origin": "null"},
            {"Origin": f"http://127.0.0.1:{int(port) - 1}"}, {"Sec-Fetch-Site": "cross-site"},
            {"Sec-Fetch-Site": "same-site"},
        ):  # fmt: skip
            assert await found.status(method, path, **token, **foreign) == 403, foreign
        assert found.stops == 0

    served(what)


def test_its_own_page_may_by_either_name():
    async def what(found):
        port = found.url.rstrip("/").rpartition(":")[2]
        for name in ("127.0.0.1", "localhost"):
            own = {
                "Host": f"{name}:{port}", "Origin": f"http://{name}:{port}",
                "Sec-Fetch-Site": "same-origin", TOKEN: found.door.token,
            }  # fmt: skip
            assert await found.status("POST", "stop", **own) == 200

    served(what)


def test_who_does_not_read_holds_up_nobody_and_is_sent_away(monkeypatch):
    monkeypatch.setattr(serving, "STALLED_S", 1.0)

    async def what(found):
        host, port = found.door.sock.getsockname()
        with socket.create_connection((host, port)) as stalled:
            stalled.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            stalled.sendall(f"GET /events HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n".encode())
            async with found.events() as events:
                reading = asyncio.ensure_future(read_until(events, "199 s"))
                for k in range(200):  # megabytes, of which a reader gets what it can take
                    found.server.put(view(elapsed=f"{k} s", why=("x" * 50_000,)))
                    await asyncio.sleep(0.005)
                await reading
            deadline = asyncio.get_running_loop().time() + 20
            while found.server._readers:
                assert asyncio.get_running_loop().time() < deadline
                found.server.put(view(why=("x" * 50_000,)))
                await asyncio.sleep(0.05)

    served(what)


def test_readers_are_bounded(monkeypatch):
    monkeypatch.setattr(serving, "READERS_MAX", 2)

    async def what(found):
        found.server.put(view())
        async with found.events() as one, found.events() as two:
            await read(one)
            await read(two)
            assert await found.status("GET", "events") == 503
            assert await found.status("GET", "") == 200

    served(what)


def test_the_end_does_not_wait_for_a_reader_that_never_reads(monkeypatch):
    monkeypatch.setattr(serving, "LAST_S", 0.2)

    async def what(found):
        host, port = found.door.sock.getsockname()
        with socket.create_connection((host, port)) as stalled:
            stalled.sendall(f"GET /events HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n".encode())
            found.server.put(view())
            async with found.events() as events:  # by then the one before was met
                await read(events)
            await found.server.end()  # without a last view: it would wait for ever

    served(what)


def test_a_port_that_cannot_be_had_is_told():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError) as told:
            open_door(port)
    assert str(port) in str(told.value)
    assert "--dashboard" in str(told.value)


@pytest.mark.parametrize(
    ("words", "filled"),
    [
        (["run", "x", "--dashboard"], ["run", "x", "--dashboard=0"]),
        (["run", "--dashboard", "x"], ["run", "--dashboard=0", "x"]),
        (["run", "x", "--dashboard", "--quiet"], ["run", "x", "--dashboard=0", "--quiet"]),
        (["run", "x", "--dashboard", "8080"], ["run", "x", "--dashboard", "8080"]),
        (["run", "x", "--dashboard=8080"], ["run", "x", "--dashboard=8080"]),
    ],
)
def test_the_port_may_be_left_out(words, filled):
    assert _filled(words) == filled


def test_the_key_is_long_new_each_time_and_not_in_what_is_printed_of_a_door():
    one, two = open_door(0), open_door(0)
    assert len(one.token) >= 43
    assert one.token != two.token
    assert one.token not in repr(one)
    assert one.token not in one.url
    assert one.url_with_key == f"{one.url}#{one.token}"
    for door in (one, two):
        door.sock.close()
