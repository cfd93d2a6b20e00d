"""The boot of a real lab and the defects of it, each seen by a client and by the ledger."""

from __future__ import annotations

import socket
import time
from collections import Counter

import aiohttp
import pytest

from tests.lab_process import (
    AT_ONCE,
    DEADLINE_S,
    NEVER_READY,
    Lab,
    check_ledger,
    raw,
    request,
    run_async,
    token,
    until,
)


def probe_boot(lab, done):
    """Ask health and handshake in turn until `done`: (sent_ns, answered_ns, kind, status)."""
    answers = []
    good = request(headers={"Authorization": f"Bearer {token()}"})

    def ask():
        for kind, head in (("health", request("/health", {"Upgrade": None})), ("ws", good)):
            sent_ns = time.perf_counter_ns()
            with socket.create_connection(lab.address, DEADLINE_S) as sock:
                sock.sendall(head)
                answer = sock.recv(4096)
            answers.append((sent_ns, time.perf_counter_ns(), kind, int(answer.split()[1])))
            if answers[-1][3] == 503:
                assert b"\r\nRetry-After: 1\r\n" in answer
        return done(answers)

    until(ask)
    return answers


def check_phases(lab, answers):
    """Every answer agrees with the phases of the ledger, as far as the clocks can tell."""
    phases = lab.phases()
    handshakes = [answer for answer in answers if answer[2] == "ws"]
    for (sent_ns, answered_ns, _, status), line in zip(
        handshakes, lab.lines("handshake"), strict=True
    ):
        assert line["status"] == status
        assert sent_ns < line["t_ns"] < answered_ns
    for sent_ns, answered_ns, kind, status in answers:
        flag_ns = phases["healthy" if kind == "health" else "ready"]
        good = 200 if kind == "health" else 101
        if sent_ns > flag_ns:
            assert status == good
        elif answered_ns < flag_ns:
            assert status == 503


def both_work(answers):
    return {(kind, status) for *_, kind, status in answers[-2:]} == {("health", 200), ("ws", 101)}


def test_a_boot_done_right(tmp_path):
    boot = "listening=10ms,healthy=20ms,ready=300ms"
    with Lab(tmp_path, boot=boot) as lab:
        answers = probe_boot(lab, both_work)
        check_phases(lab, answers)
        assert {status for *_, status in answers} <= {503, 200, 101}
        phases = lab.phases()
        assert list(phases) == ["up", "listening", "ready", "healthy"]
        assert phases["listening"] - phases["up"] >= 10_000_000
        assert phases["ready"] - phases["up"] >= 300_000_000
        check_ledger(lab)
        rejected = sum(kind == "ws" and status == 503 for *_, kind, status in answers)
        assert lab.outcomes().count(("rejected", 503)) == rejected
    assert [*lab.phases()][-2:] == ["stopping", "stopped"]
    (health,) = lab.lines("health")
    told = Counter(str(status) for *_, kind, status in answers if kind == "health")
    assert health["counts"] == told


def test_health_that_lies(tmp_path):
    with Lab(tmp_path, "--defect", "health_lies=1h", boot=AT_ONCE, ledger="never") as lab:
        answers = probe_boot(lab, lambda answers: len(answers) >= 6)
        assert {(kind, status) for *_, kind, status in answers} == {("health", 200), ("ws", 503)}
        assert list(lab.phases()) == ["up", "listening", "healthy"]
    with Lab(tmp_path, "--defect", "health_lies=300ms", boot=AT_ONCE) as lab:
        assert lab.hello["defects"] == {"health_lies": "300ms"}
        answers = probe_boot(lab, both_work)
        check_phases(lab, answers)
        assert {status for *_, kind, status in answers if kind == "health"} == {200}
        phases = lab.phases()
        assert list(phases) == ["up", "listening", "healthy", "ready"]
        assert phases["ready"] - phases["up"] >= 300_000_000


def test_slow_boot(tmp_path):
    with Lab(tmp_path, "--defect", "slow_boot=1h", boot=AT_ONCE) as lab:
        answers = probe_boot(lab, lambda answers: len(answers) >= 6)
        assert {status for *_, status in answers} == {503}
        assert list(lab.phases()) == ["up", "listening"]


def handshake_in_the_window(lab, patience_s=DEADLINE_S):
    """What an unauthenticated client sees: an HTTP status, (code, reason), silence, reset."""
    with socket.create_connection(lab.address, DEADLINE_S) as sock:
        try:
            sock.sendall(request())
            with sock.makefile("rb") as stream:
                status = int(stream.readline().split()[1])
                while stream.readline() != b"\r\n":
                    pass
                if status != 101:
                    return status
                sock.sendall(b"\x89\x80\x00\x00\x00\x00")  # a ping, which a hung one leaves be
                sock.settimeout(patience_s)
                try:
                    frame = stream.read(2)
                except TimeoutError:
                    return "silence"
                if frame[0] == 0x8A:  # a pong may come before the close
                    frame = stream.read(2)
                assert frame[0] == 0x88
                body = stream.read(frame[1])
                return int.from_bytes(body[:2], "big"), body[2:].decode()
        except ConnectionResetError:
            return "reset"


@pytest.mark.parametrize(
    ("defect", "seen", "told"),
    [
        ("cold_start_1011", (1011, "service starting"), ("closed_1011", 101)),
        ("cold_start_hang", "silence", ("hung", 101)),
        ("cold_start_drop", "reset", ("dropped", None)),
        (None, 503, ("rejected", 503)),
    ],
)
def test_a_cold_start_shows_the_defect_it_is_told_to_have(tmp_path, defect, seen, told):
    options = ["--defect", defect] if defect else []
    with Lab(tmp_path, *options, boot=NEVER_READY) as lab:
        for _ in range(3):
            patience_s = 0.3 if seen == "silence" else DEADLINE_S
            assert handshake_in_the_window(lab, patience_s) == seen
        assert raw(lab, request("/health", {"Upgrade": None, "Connection": "close"}))[0] == 503
        assert lab.outcomes() == [told] * 3
        check_ledger(lab)


def test_the_same_seed_gives_the_same_hits(tmp_path):
    seen = []
    for ledger in ("a", "b"):
        options = ["--seed", "5", "--life", "3", "--defect", "cold_start_drop=0.5"]
        with Lab(tmp_path, *options, boot=NEVER_READY, ledger=ledger) as lab:
            seen.append([handshake_in_the_window(lab) for _ in range(12)])
            assert lab.outcomes() == [
                ("dropped", None) if each == "reset" else ("rejected", 503) for each in seen[-1]
            ]
            assert {line["life"] for line in lab.lines()} == {3}
    assert seen[0] == seen[1]
    assert set(seen[0]) == {"reset", 503}


def test_defects_are_changed_over_http(tmp_path):
    with Lab(tmp_path, boot=NEVER_READY) as lab:

        async def change(http, wanted):
            async with http.post(lab.url + "/_lab/defects", json=wanted) as answer:
                return answer.status, await answer.json()

        async def main():
            async with aiohttp.ClientSession() as http:
                assert handshake_in_the_window(lab) == 503
                on = {"cold_start_drop": 1.0}
                assert await change(http, on) == (200, {"defects": on})
                assert handshake_in_the_window(lab) == "reset"
                status, body = await change(http, {"cold_start_drop": None, "cold_start_hung": 1})
                assert status == 400
                assert "nearest: cold_start_hang" in body["error"]
                async with http.get(lab.url + "/_lab/defects") as answer:
                    assert await answer.json() == {"defects": on}
                status, body = await change(http, {"slow_boot": "1s"})
                assert status == 400
                assert "--defect slow_boot" in body["error"]
                assert (await change(http, [1]))[0] == 400
                assert await change(http, {"cold_start_drop": None}) == (200, {"defects": {}})
                assert handshake_in_the_window(lab) == 503

        run_async(main)
        assert [line["active"] for line in lab.lines("defects")] == [{"cold_start_drop": 1.0}, {}]
        check_ledger(lab)


def test_the_control_answers_on_loopback_only(tmp_path):
    outside = own_address()
    if outside is None:
        pytest.skip("this machine has no address but loopback")
    with Lab(tmp_path, "--host", "0.0.0.0") as lab:
        lab.address = (outside, lab.hello["port"])
        head = {"Upgrade": None, "Connection": "close"}
        assert raw(lab, request("/_lab/ledger", head))[0] == 403
        assert raw(lab, request("/_lab/defects", head))[0] == 403
        assert raw(lab, request("/_lab/defects", {**head, "Content-Length": "0"}, "POST"))[0] == 403


def own_address():
    """An address of this machine that is not loopback; nothing is sent to find it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        try:
            sock.connect(("192.0.2.1", 9))
        except OSError:
            return None
        address = sock.getsockname()[0]
    return None if address.startswith("127.") else address
