"""Routes, prepared requests and the wheel of deadlines."""

from __future__ import annotations

import asyncio
import gc
import ssl
import weakref
from functools import partial

import pytest
import trustme
import uvloop

from probe.clock import now_ns
from probe.wire import Deadline, Prepared, Proxy, TlsOptions, make_route, new_key, wheel_of
from probe.wire.deadlines import TICK_NS


@pytest.mark.parametrize(
    ("url", "host", "port", "resource", "header"),
    [
        ("ws://a.test", "a.test", 80, "/", "a.test"),
        ("ws://A.test:8080/x?y=1&z", "a.test", 8080, "/x?y=1&z", "a.test:8080"),
        ("wss://a.test:443/%20", "a.test", 443, "/%20", "a.test"),
        ("ws://[::1]:9/", "::1", 9, "/", "[::1]:9"),
        ("ws://bücher.test/ü", "xn--bcher-kva.test", 80, "/%C3%BC", "xn--bcher-kva.test"),
        ("ws://a.test?q", "a.test", 80, "/?q", "a.test"),
    ],
)
def test_urls(url, host, port, resource, header):
    route = make_route(url)
    assert (route.host, route.port, route.resource, route.host_header) == (
        host,
        port,
        resource,
        header,
    )
    assert (route.connect_host, route.connect_port) == (host, port)
    assert route.secure is (route.tls is not None)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("http://a.test/", "use ws://"),
        ("https://a.test/", "use wss://"),
        ("a.test/x", "starts with ws://"),
        ("ws:///x", "names no host"),
        ("ws://a.test:0/", "1 to 65535"),
        ("ws://a.test:99999/", "1 to 65535"),
        ("ws://a.test/#x", "fragment"),
        ("ws://me:hush@a.test/", "no user or password"),
        ("ws://a..test/", "not valid"),
        ("ws://a b/", "not valid"),
        ("ws://[::zz]/", "Pv6|cannot be read|valid"),
    ],
)
def test_urls_that_are_refused(url, words):
    with pytest.raises(ValueError, match=words) as caught:
        make_route(url)
    assert "hush" not in str(caught.value)


def test_overrides_and_proxies():
    route = make_route("wss://a.test/", connect_to="[::1]:99", host="b.test", server_name="c.test")
    assert (route.connect_host, route.connect_port, route.connect_literal) == ("::1", 99, True)
    assert (route.host, route.host_header, route.server_name) == ("a.test", "b.test", "c.test")
    route = make_route("ws://a.test:81/", proxy=Proxy("p.test", 3128))
    assert (route.connect_host, route.connect_port, route.tunnel) == ("p.test", 3128, "a.test:81")
    for bad in ("a.test", ":1", "a.test:x", "::1:80", "a.test:70000"):
        with pytest.raises(ValueError, match="no address"):
            make_route("ws://a.test/", connect_to=bad)
    with pytest.raises(ValueError, match="line break"):
        make_route("ws://a.test/", host="x\r\ny: z")


def test_tls_files_are_judged_before_a_socket_opens(tmp_path):
    nothing = str(tmp_path / "none.pem")
    junk = tmp_path / "junk.pem"
    junk.write_text("junk")
    for options, words in (
        (TlsOptions(ca_file=nothing), "CA file .*none.pem.* cannot be used: No such file"),
        (TlsOptions(ca_file=str(junk)), "CA file .*junk.pem"),
        (TlsOptions(client_cert=nothing), "client certificate .*none.pem"),
        (TlsOptions(client_key=nothing), "needs its certificate"),
    ):
        with pytest.raises(ValueError, match=words):
            make_route("wss://a.test/", tls=options)
    trustme.CA().cert_pem.write_to_path(tmp_path / "ca.pem")
    made = make_route("wss://a.test/", tls=TlsOptions(ca_file=str(tmp_path / "ca.pem"))).tls
    assert made is not None
    assert made.verify_mode is ssl.CERT_REQUIRED
    assert len(made.get_ca_certs()) == 1
    loose = make_route("wss://a.test/", tls=TlsOptions(verify=False)).tls
    assert loose is not None
    assert loose.verify_mode is ssl.CERT_NONE


def test_requests():
    prepared = Prepared(
        make_route("ws://a.test:1/x?y"), [("X", "1"), ("X", "2"), ("Bad Name", "é")]
    )
    head = prepared.build(b"KEY", subprotocols=["p", "q"], headers=[("Z", "3")], extensions="e")
    assert head == (
        b"GET /x?y HTTP/1.1\r\nHost: a.test:1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Version: 13\r\nX: 1\r\nX: 2\r\nBad Name: \xc3\xa9\r\n"
        b"Sec-WebSocket-Key: KEY\r\nSec-WebSocket-Protocol: p, q\r\n"
        b"Sec-WebSocket-Extensions: e\r\nZ: 3\r\n\r\n"
    )
    assert prepared.build(b"K", resource="/other").startswith(
        b"GET /other HTTP/1.1\r\nHost: a.test:1"
    )


@pytest.mark.parametrize("own", [(), (("Sec-WebSocket-Key", "mine"),)])
@pytest.mark.parametrize(
    "more",
    [
        {},
        {"subprotocols": ["p"]},
        {"headers": [("Z", "3")]},
        {"extensions": "e"},
        {"resource": "/o"},
    ],
)
def test_a_whole_line_is_the_first_header_of_the_connection(own, more):
    prepared = Prepared(make_route("ws://a.test/"), own)
    named = {**more, "headers": [("traceparent", "00-a-b-01"), *more.get("headers", ())]}
    line = b"traceparent: 00-a-b-01\r\n"
    assert prepared.build(b"K", line=line, **more) == prepared.build(b"K", **named)


def test_own_headers_can_be_replaced():
    headers = [("host", "b"), ("UPGRADE", "h2c"), ("sec-websocket-key", "mine")]
    head = Prepared(make_route("ws://a.test/"), headers).build(b"KEY")
    assert head.count(b"ost:") == 1
    assert head.lower().count(b"upgrade:") == 1
    assert b"KEY" not in head
    assert b"sec-websocket-key: mine\r\n" in head
    assert head.endswith(b"\r\n\r\n")


def test_no_value_smuggles_a_line():
    prepared = Prepared(make_route("ws://a.test/"))
    for bad in ("hush\r\nX: y", "hush\n", "hush\r", "hush\0"):
        for how in ({"headers": [("A", bad)]}, {"subprotocols": [bad]}, {"extensions": bad}):
            with pytest.raises(ValueError, match="line break") as caught:
                prepared.build(b"K", **how)
            assert "hush" not in str(caught.value)
        with pytest.raises(ValueError, match="line break"):
            Prepared(make_route("ws://a.test/"), [(bad, "x")])
    for bad in ("x", "/a b", "/a\r\nX: y"):
        with pytest.raises(ValueError, match="starts with /"):
            prepared.build(b"K", resource=bad)


def test_keys_are_fresh():
    keys = {new_key() for _ in range(1000)}
    assert len(keys) == 1000
    assert {len(key) for key in keys} == {24}


def run(body):
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(asyncio.wait_for(body(), 10))


def test_deadlines_fire_in_order_and_never_early():
    async def body():
        wheel = wheel_of(asyncio.get_running_loop())
        assert wheel is wheel_of(asyncio.get_running_loop())
        done = asyncio.get_running_loop().create_future()
        fired: list[tuple[int, int]] = []
        begun = now_ns()

        def fire(after: int) -> None:
            fired.append((after, now_ns()))

        for after in (5 * TICK_NS, -TICK_NS, 2 * TICK_NS, 0):
            wheel.add(begun + after, partial(fire, after))
        never = wheel.add(begun + 3 * TICK_NS, partial(fire, 3 * TICK_NS))
        wheel.add(begun + 6 * TICK_NS, lambda: done.set_result(None))
        assert fired == []
        never.cancel()
        never.cancel()
        await done
        assert [after for after, _ in fired][2:] == [2 * TICK_NS, 5 * TICK_NS]
        assert sorted(after for after, _ in fired[:2]) == [-TICK_NS, 0]
        assert all(stamp >= begun + after for after, stamp in fired)
        assert not wheel._running

    run(body)


def test_callbacks_may_add_cancel_and_fail():
    async def body():
        loop = asyncio.get_running_loop()
        troubles = []
        loop.set_exception_handler(lambda _, context: troubles.append(context["exception"]))
        wheel = wheel_of(loop)
        done = loop.create_future()
        same = now_ns() + 2 * TICK_NS
        pair: list[Deadline] = []
        fired: list[int] = []

        def first():
            for other in pair:
                other.cancel()
            fired.append(1)
            wheel.add(now_ns() - 1, lambda: done.set_result(None))
            raise ValueError("a bug")

        pair += [wheel.add(same, first), wheel.add(same, first)]
        await done
        assert fired == [1]
        assert [type(error) for error in troubles] == [ValueError]

    run(body)


def test_a_wheel_does_not_keep_its_loop():
    async def body():
        wheel_of(asyncio.get_running_loop())
        return weakref.ref(asyncio.get_running_loop())

    gone = run(body)
    gc.collect()
    assert gone() is None
