"""Each defect of the door as a client sees it, against the ledger: no hit untold, none invented."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import socket
import time
from contextlib import contextmanager

import pytest

from probe.lab.tokens import Keys
from tests.lab_process import (
    DEADLINE_S,
    SECRET,
    Talk,
    in_a_session,
    raw,
    request,
    set_defects,
    token,
    until,
)

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455 section 1.3
KEY = base64.b64encode(b"0123456789abcdef")
ACCEPT = base64.b64encode(hashlib.sha1(KEY + GUID).digest()).decode()
TIMES = 20


@pytest.fixture(scope="module")
def lab(defective):
    return defective


@contextmanager
def switched_on(lab, **wanted):
    """The defects are on within; yields a function that tells their hits so far."""
    before = len(lab.lines("hit"))

    async def main(http):
        await set_defects(http, lab, **{**dict.fromkeys(wanted), **values})

    values = wanted
    in_a_session(main)
    try:
        yield lambda: lab.lines("hit")[before:]
    finally:
        values = {}
        in_a_session(main)


class Knock:
    """One handshake by hand: `status`, `headers` (a list), and what comes behind them."""

    def __init__(self, lab, headers, path="/ws"):
        self.sock = socket.create_connection(lab.address, DEADLINE_S)
        self.sock.sendall(request(path, headers))
        self.stream = self.sock.makefile("rb")

    def __enter__(self):
        lines = [line.decode().rstrip("\r\n") for line in iter(self.stream.readline, b"\r\n")]
        self.status = int(lines[0].split()[1])
        self.headers = [tuple(line.split(":", 1)) for line in lines[1:]]
        self.ready = self.error = None
        return self

    def __exit__(self, *_):
        self.stream.close()
        self.sock.close()

    def values(self, name):
        return [value.strip() for key, value in self.headers if key.lower() == name.lower()]

    def frame(self):
        """Opcode and payload of the next frame."""
        head = self.stream.read(2)
        size = head[1]
        if size == 126:
            size = int.from_bytes(self.stream.read(2), "big")
        return head[0] & 0x0F, self.stream.read(size)

    def text(self):
        opcode, payload = self.frame()
        assert opcode == 1, (opcode, payload)
        return json.loads(payload)

    def refusal(self):
        (size,) = self.values("Content-Length")
        return self.status, json.loads(self.stream.read(int(size)))["error"]

    def say(self, **message):
        body = json.dumps(message).encode()
        length = bytes((0x80 | len(body),)) if len(body) < 126 else b"\xfe" + len(body).to_bytes(2)
        self.sock.sendall(b"\x81" + length + bytes(4) + body)


def bearer(value):
    return {"Authorization": f"Bearer {value}"}


def offers(line, shown=None):
    return {"Sec-WebSocket-Protocol": line, **(bearer(token()) if shown is None else {})}


def compare(hits, seen, defect, user="ann"):
    """The lines of the ledger are just the connections on which the client saw the defect."""
    assert seen
    assert [line["defect"] for line in hits] == [defect] * len(hits)
    assert [line["connection_id"] for line in hits] == seen
    assert {line["user_id"] for line in hits} == {user}


# ------------------------------------------------------------------ negotiation


@pytest.mark.parametrize("rate", [1, 0.4])
@pytest.mark.parametrize(
    ("defect", "line", "healthy", "altered"),
    [
        ("accept_without_subprotocol", "jwt-auth, jwt.{}", ["jwt-auth"], []),
        ("echo_unoffered_subprotocol", "jwt-auth, jwt.{}", ["jwt-auth"], ["lab.v1"]),
        ("echo_first_offered", "chat, jwt-auth, jwt.{}", ["jwt-auth"], ["chat"]),
        ("echo_empty_subprotocol", "jwt-auth, jwt.{}", ["jwt-auth"], [""]),
        ("two_subprotocols", "jwt-auth, jwt.{}", ["jwt-auth"], ["jwt-auth", "jwt.{}"]),
        ("case_folding", "JWT-AUTH, jwt.{}", ["jwt.{}"], ["jwt-auth"]),
    ],
)
def test_a_wrong_answer_to_the_offers(lab, defect, line, healthy, altered, rate):
    good = token()
    seen, right = [], 0
    with switched_on(lab, **{defect: rate}) as hits:
        for _ in range(TIMES):
            with Knock(lab, {"Sec-WebSocket-Protocol": line.format(good)}) as knock:
                assert (knock.status, knock.values("Sec-WebSocket-Accept")) == (101, [ACCEPT])
                ready = knock.text()
                found = [value.replace(good, "{}") for value in knock.values(SUBPROTOCOL)]
            assert ready["user_id"] == "ann"
            if found == altered:
                seen.append(ready["connection_id"])
            else:
                assert found == healthy
                right += 1
        with Knock(lab, bearer(good)) as knock:  # nothing was offered
            assert knock.values(SUBPROTOCOL) == []
        compare(hits(), seen, defect)
    assert (right == 0) == (rate == 1)


SUBPROTOCOL = "Sec-WebSocket-Protocol"


@pytest.mark.parametrize(
    ("defect", "line", "answered"),
    [("echo_first_offered", "chat, talk", "chat"), ("case_folding", "JWT-Auth", "jwt-auth")],
)
def test_what_cannot_be_served_is_served(lab, defect, line, answered):
    headers = {SUBPROTOCOL: line, **bearer(token())}
    with Knock(lab, headers) as knock:
        assert knock.refusal() == (400, "unsupported_subprotocol")
    with switched_on(lab, **{defect: 1}) as hits:
        with Knock(lab, headers) as knock:
            assert (knock.status, knock.values(SUBPROTOCOL)) == (101, [answered])
            compare(hits(), [knock.text()["connection_id"]], defect)
        # Who is refused all the same has seen nothing of it, and no line says so.
        with Knock(lab, {**headers, **bearer("eyJ.not.one")}) as knock:
            assert knock.refusal() == (401, "invalid_token")
        assert len(hits()) == 1


@pytest.mark.parametrize("line", ["chat", "token=abc", " , "])
def test_reject_after_accept_1003(lab, line):
    closed = refused = 0
    before = len(lab.lines("handshake"))
    with switched_on(lab, reject_after_accept_1003=0.4) as hits:
        for _ in range(TIMES):
            with Knock(lab, {SUBPROTOCOL: line, **bearer(token())}) as knock:
                if knock.status == 101:
                    assert (knock.values(SUBPROTOCOL), knock.values("Sec-WebSocket-Accept")) == (
                        [],
                        [ACCEPT],
                    )
                    assert knock.frame() == (8, (1003).to_bytes(2) + b"unsupported subprotocol")
                    closed += 1
                else:
                    status, error = knock.refusal()
                    assert (status, error.endswith("subprotocol")) == (400, True)
                    refused += 1
        with Knock(lab, {SUBPROTOCOL: "jwt-auth", **bearer(token())}) as knock:
            assert knock.text()["type"] == "connection_ready"
        assert [hit["defect"] for hit in hits()] == ["reject_after_accept_1003"] * closed
    assert closed
    assert refused
    outcomes = [line["outcome"] for line in lab.lines("handshake")[before:]]
    assert sorted(outcomes) == sorted(
        ["closed_1003"] * closed + ["rejected"] * refused + ["accepted"]
    )


def test_bad_accept_key(lab):
    seen, right = [], 0
    with switched_on(lab, bad_accept_key=0.4) as hits:
        for _ in range(TIMES):
            with Knock(lab, bearer(token())) as knock:
                (accept,) = knock.values("Sec-WebSocket-Accept")
                ready = knock.text()
            assert len(base64.b64decode(accept, validate=True)) == 20
            if accept == ACCEPT:
                right += 1
            else:
                seen.append(ready["connection_id"])
        compare(hits(), seen, "bad_accept_key")
    assert right


def test_origin_ignored(lab):
    seen, refused = [], 0
    with switched_on(lab, origin_ignored=0.4) as hits:
        for origin in ["https://evil.example", "null"] * (TIMES // 2):
            with Knock(lab, {**bearer(token()), "Origin": origin}) as knock:
                if knock.status == 101:
                    seen.append(knock.text()["connection_id"])
                else:
                    assert knock.refusal() == (403, "origin_not_allowed")
                    refused += 1
        with Knock(lab, {**bearer(token()), "Origin": "http://localhost"}) as knock:
            assert knock.status == 101
        compare(hits(), seen, "origin_ignored")
    assert refused


# ------------------------------------------------------------------ tokens


def by_hand(header, key, **claims):
    base = {"sub": "ann", "aud": "probe-lab", "iss": "probe-lab", "exp": int(time.time()) + 60}

    def part(value):
        return base64.urlsafe_b64encode(value).rstrip(b"=")

    text = b".".join(part(json.dumps(each).encode()) for each in (header, {**base, **claims}))
    return (text + b"." + (part(hmac.digest(key, text, "sha256")) if key else b"")).decode()


def confused(spelling, **claims):
    return by_hand({"alg": "HS256"}, Keys(SECRET)._readings[spelling], **claims)


BAD = [
    ("alg_none_accepted", "unsupported_algorithm", lambda: by_hand({"alg": "none"}, b"")),
    ("alg_none_accepted", "unsupported_algorithm", lambda: by_hand({"alg": "nOnE"}, b"")),
    ("expired_accepted", "token_expired", lambda: token(exp=int(time.time()) - 30)),
    ("audience_ignored", "wrong_audience_or_issuer", lambda: token(aud="other")),
    ("audience_ignored", "wrong_audience_or_issuer", lambda: token(iss="other")),
    ("audience_ignored", "missing_claim", lambda: token(aud=None)),
    ("key_confusion", "bad_signature", lambda: confused(0)),
    ("key_confusion", "bad_signature", lambda: confused(4)),
]
DEFECTS = sorted({row[0] for row in BAD})


@pytest.mark.parametrize(("defect", "error", "make"), BAD)
def test_a_bad_token_is_taken(lab, defect, error, make):
    bad = make()
    seen, refused = [], 0
    with switched_on(lab, **{defect: 0.4}) as hits:
        for path in ["/ws", "/ws?auth=message"] * (TIMES // 2):
            with Knock(lab, bearer(bad) if path == "/ws" else {}, path) as knock:
                if path != "/ws":
                    knock.say(type="authenticate", token=bad)
                elif knock.status == 401:
                    assert knock.refusal() == (401, error)
                    refused += 1
                    continue
                opcode, payload = knock.frame()
                if opcode == 8:
                    assert payload == (1008).to_bytes(2) + error.encode()
                    refused += 1
                    continue
                ready = json.loads(payload)
                assert ready["user_id"] == "ann"
                seen.append(ready["connection_id"])
                knock.say(type="ping")
                assert knock.text()["type"] == "pong"  # and it is served
        with Knock(lab, bearer(token())) as knock:
            assert knock.status == 101
        compare(hits(), seen, defect)
    assert refused


@pytest.mark.parametrize("defect", DEFECTS)
def test_a_token_with_another_fault_is_still_refused(lab, defect):
    late = int(time.time()) - 30
    faults = [
        ("bad_signature", "", token("another-secret-0123456789-0123456789")),
        ("missing_claim", "", token(sub="")),
        ("unsupported_algorithm", "", token(SECRET * 2, "HS384")),
        ("token_not_yet_valid", "", token(nbf=int(time.time()) + 100)),
        ("token_expired", "expired_accepted", token(exp=late)),
        ("token_expired", "expired_accepted", by_hand({"alg": "none"}, b"", exp=late)),
        ("wrong_audience_or_issuer", "audience_ignored", confused(0, aud="other")),
        ("wrong_audience_or_issuer", "audience_ignored", token(aud="other")),
        ("bad_signature", "key_confusion", confused(0)),
        ("unsupported_algorithm", "alg_none_accepted", by_hand({"alg": "none"}, b"")),
    ]
    with switched_on(lab, **{defect: 1}) as hits:
        for _, mended_by, bad in faults:
            if mended_by != defect:
                with Knock(lab, bearer(bad)) as knock:
                    assert knock.status == 401, (mended_by, knock.status)
        assert hits() == []


def test_two_faults_need_two_defects_and_both_are_told(lab):
    bad = confused(1, exp=int(time.time()) - 30)
    with switched_on(lab, key_confusion=1, expired_accepted=1) as hits:
        with Knock(lab, bearer(bad)) as knock:
            name = knock.text()["connection_id"]
        assert [(hit["defect"], hit["connection_id"]) for hit in hits()] == [
            ("key_confusion", name),
            ("expired_accepted", name),
        ]


# ------------------------------------------------------------------ what guards the door


def knocked(lab, value):
    with Knock(lab, bearer(value)) as knock:
        return (101, None) if knock.status == 101 else knock.refusal()


CIRCUIT_OPEN = (503, "circuit_open")


def test_breaker_global(lab):
    with switched_on(lab, breaker_global="300ms") as hits:
        for value in ("a", "b", token(), "c", "d"):
            assert knocked(lab, value)[0] == (101 if "." in value else 401)
        assert knocked(lab, "e") == (401, "invalid_token")  # the third in a row
        open_ns = time.perf_counter_ns()
        refused = 1
        with Knock(lab, bearer(token(sub="bob"))) as knock:
            assert knock.refusal() == CIRCUIT_OPEN
            assert knock.values("Retry-After") == ["1"]
        while knocked(lab, "still-bad") == CIRCUIT_OPEN:
            refused += 1
            assert time.perf_counter_ns() < open_ns + DEADLINE_S * 1e9
        # That one was the trial, and it was bad: open again, and then a good one as the trial.
        half_open_ns = time.perf_counter_ns()
        assert half_open_ns > open_ns + 200_000_000
        refused_again = 0
        while knocked(lab, token()) == CIRCUIT_OPEN:
            refused_again += 1
            assert time.perf_counter_ns() < half_open_ns + DEADLINE_S * 1e9
        assert refused_again
        for value in ("f", "g"):  # closed, and counted anew
            assert knocked(lab, value) == (401, "invalid_token")
        assert knocked(lab, token()) == (101, None)
        told = hits()
    assert [line["defect"] for line in told] == ["breaker_global"] * (refused + refused_again)
    assert all(0 <= line["after_ns"] < 300_000_000 for line in told)


def test_the_trial_of_a_half_open_breaker_is_alone(lab):
    with switched_on(lab, breaker_global="100ms") as hits:
        for value in ("a", "b", "c"):
            assert knocked(lab, value) == (401, "invalid_token")
        time.sleep(0.15)
        with Knock(lab, {}, "/ws?auth=message") as trial:
            assert trial.status == 101
            for _ in range(3):
                assert knocked(lab, token()) == CIRCUIT_OPEN
            trial.say(type="authenticate", token=token(sub="cy"))
            assert trial.text()["user_id"] == "cy"
            assert knocked(lab, token()) == (101, None)
        assert len(hits()) == 3
        for value in ("a", "b", "c"):
            assert knocked(lab, value) == (401, "invalid_token")
        time.sleep(0.15)
        with Knock(lab, {}, "/ws?auth=message") as trial:
            assert trial.status == 101
        # It went without an answer: the next is the trial.
        until(lambda: knocked(lab, token()) == (101, None))


def test_while_one_of_a_herd_is_tried_all_others_are_refused(lab):
    with switched_on(lab, breaker_global="400ms", breaker_half_open="700ms") as hits:
        for good in (False, True):
            if good:  # open again since the bad trial, for the whole time
                assert knocked(lab, token()) == CIRCUIT_OPEN
            else:
                for value in ("a", "b", "c"):
                    assert knocked(lab, value) == (401, "invalid_token")
            time.sleep(0.5)
            told = len(hits())
            with socket.create_connection(lab.address, DEADLINE_S) as trial:
                trial.sendall(request(headers=bearer(token() if good else "d")))
                for _ in range(3):
                    assert knocked(lab, token(sub="bob")) == CIRCUIT_OPEN
                assert trial.recv(12) == (b"HTTP/1.1 101" if good else b"HTTP/1.1 401")
            refused = hits()[told:]
            assert [line["defect"] for line in refused] == ["breaker_half_open"] * 3
            assert all(line["after_ns"] >= 0 for line in refused)
        assert knocked(lab, token()) == (101, None)  # closed


def test_breaker_sticks(lab):
    with switched_on(lab, breaker_sticks=1) as hits:
        for value in ("a", "", "c"):
            assert knocked(lab, value)[0] == 401
        for _ in range(3):
            with Knock(lab, bearer(token())) as knock:
                assert knock.refusal() == CIRCUIT_OPEN
                assert knock.values("Retry-After") == ["15"]
        assert [line["defect"] for line in hits()] == ["breaker_sticks"] * 3
    assert knocked(lab, token()) == (101, None)


def revoke(lab, shown):
    body = f"token={shown}"
    headers = {
        **bearer(shown),
        "Content-Type": "application/x-www-form-urlencoded",
        "Content-Length": len(body),
        "Upgrade": None,
        "Connection": "close",
    }
    return raw(lab, request("/auth/revoke", headers, "POST") + body.encode())[0]


def test_slow_accept_tail(lab):
    with switched_on(lab, slow_accept_tail=1) as hits:
        start_ns = time.perf_counter_ns()
        slow = [Knock(lab, bearer(token(sub="slow"))) for _ in range(2)]
        slow[0].say(type="ping", id="early")
        gone = Knock(lab, bearer(token(sub="gone")))
        # One that is refused need not wait, and one that goes meanwhile has met it as well.
        assert knocked(lab, "bad") == (401, "invalid_token")
        gone.__exit__()
        revoked = token(sub="revoked")
        late = Knock(lab, bearer(revoked))
        assert knocked(lab, "bad") == (401, "invalid_token")  # so it was judged by now
        assert revoke(lab, revoked) == 200
        names = []
        for each in slow:
            with each as knock:
                assert knock.status == 101
                assert time.perf_counter_ns() - start_ns >= 2_000_000_000
                names.append(knock.text()["connection_id"])
                if each is slow[0]:
                    assert knock.text()["id"] == "early"
        with late as knock:  # good when it was judged, revoked when it is accepted
            names.append(knock.text()["connection_id"])
            assert knock.frame() == (8, (4403).to_bytes(2) + b"token revoked")
        told = until(lambda: hits() if len(hits()) == 4 else None)
        assert {line["defect"] for line in told} == {"slow_accept_tail"}
        assert sorted((line["user_id"], line.get("connection_id")) for line in told) == sorted(
            [("gone", None), *zip(["slow", "slow", "revoked"], names, strict=True)]
        )
        assert until(lambda: "left" in [outcome for outcome, _ in lab.outcomes()])


@pytest.mark.parametrize("defect", ["validation_blocks_loop", "blocking_dependency"])
def test_what_blocks_the_loop_makes_everybody_wait(lab, defect):
    delay_ns = 200_000_000

    async def main(http):
        talk = await Talk.open(http, lab, "bob")
        starter = await Talk.open(http, lab, "cy")
        await set_defects(http, lab, **{defect: "200ms"})
        before = len(lab.lines("hit"))
        if defect == "blocking_dependency":
            await starter.say("start_agent", run_id="slow")
        else:
            knock = Knock(lab, bearer(token(sub="cy")))
        (hit,) = until(lambda: lab.lines("hit")[before:])
        await talk.say("ping")
        assert (await talk.next())["type"] == "pong"
        # The line was there before the ping was sent, and the answer comes behind the block.
        assert time.perf_counter_ns() >= hit["t_ns"] + delay_ns
        assert (hit["defect"], hit["delay_ns"], hit["user_id"]) == (defect, delay_ns, "cy")
        if defect == "blocking_dependency":
            assert hit["connection_id"] == starter.id
            assert hit["run_id"] == "slow"
            await starter.read(5)
        else:
            with knock:
                assert knock.status == 101
        await set_defects(http, lab, **{defect: None})

    in_a_session(main)
