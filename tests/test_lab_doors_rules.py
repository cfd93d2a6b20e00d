"""The pure parts of the lab's door: offers, origins, claims, revocations, the breaker."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from functools import partial
from types import SimpleNamespace
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from probe.lab import oauth
from probe.lab.breaker import Breaker, OpenError
from probe.lab.claims import LIFETIME_S_MAX, Claims, TokenError
from probe.lab.defects import Defects
from probe.lab.hits import Hits
from probe.lab.ledger import Ledger
from probe.lab.offers import Choice, OfferError, answers, choose, negotiate
from probe.lab.origins import is_allowed
from probe.lab.revocations import KNOWN_MAX, REVOKED_MAX, FullError, Revocations
from probe.lab.tokens import Keys
from tests.lab_process import SECRET, token

S = 1_000_000_000
KEY = SECRET.encode()


def on(*names):
    return Defects(1, 1, [(name, None) for name in names])


class Lines(Ledger):
    """A ledger that keeps what it is told in memory."""

    def __init__(self):
        super().__init__(None, 1)
        self.told: list[tuple[str, Any]] = []

    def hit(self, defect, **fields):
        self.told.append((defect, fields))

    def revocation(self, kind, user_id):
        self.told.append((kind, user_id))


# ------------------------------------------------------------------ offers


@pytest.mark.parametrize(
    "lines", [["jwt.a, jwt.b"], ["jwt-auth, jwt.a, bearer.b"], ["bearer.a", "bearer.b"]]
)
def test_two_tokens_that_differ_are_ambiguous_whatever_is_on(lines):
    for defects in (on(), on("case_folding", "echo_first_offered")):
        with pytest.raises(OfferError) as caught:
            negotiate(lines, Hits(defects))
        assert caught.value.code == "ambiguous_token"


def test_the_same_token_twice_is_one():
    assert choose(["jwt-auth, jwt.a, bearer.a"]) == Choice("jwt-auth", "a")


@pytest.mark.parametrize(
    ("defect", "lines", "choice", "hit"),
    [
        ("case_folding", "JWT-AUTH", Choice("jwt-auth"), True),
        ("case_folding", "Jwt-Auth, jwt.a", Choice("jwt-auth", "a"), True),
        ("case_folding", "jwt-auth, JWT-AUTH, jwt.a", Choice("jwt-auth", "a"), False),
        ("case_folding", "JWT-AUTH, bearer.a", Choice("bearer.a", "a"), False),
        ("case_folding", "chat", None, False),
        ("echo_first_offered", "chat", Choice("chat"), True),
        ("echo_first_offered", "chat, jwt-auth, jwt.a", Choice("chat", "a"), True),
        ("echo_first_offered", "jwt.a, jwt-auth", Choice("jwt.a", "a"), True),
        ("echo_first_offered", "jwt-auth, jwt.a", Choice("jwt-auth", "a"), False),
        ("echo_first_offered", "token=a", None, False),
    ],
)
def test_a_defect_of_choosing_hits_where_it_makes_a_difference(defect, lines, choice, hit):
    ledger = Lines()
    hits = Hits(on(defect))
    try:
        assert negotiate([lines], hits) == choice
    except OfferError:
        assert choice is None
    hits.write(ledger, connection_id="c")
    assert ledger.told == ([(defect, {"connection_id": "c"})] if hit else [])
    hits.write(ledger, connection_id="c")
    assert len(ledger.told) == hit  # once


def test_of_two_defects_of_choosing_the_one_that_chose_is_told():
    ledger = Lines()
    hits = Hits(on("case_folding", "echo_first_offered"))
    assert negotiate(["JWT-AUTH, chat"], hits) == Choice("JWT-AUTH")
    assert negotiate(["jwt-auth"], hits) == Choice("jwt-auth")
    hits.write(ledger)
    assert ledger.told == [("echo_first_offered", {})]


@pytest.mark.parametrize(
    ("defect", "lines", "values"),
    [
        (None, "jwt-auth, jwt.a", ("jwt-auth",)),
        ("accept_without_subprotocol", "jwt-auth, jwt.a", ()),
        ("echo_unoffered_subprotocol", "jwt-auth, jwt.a", ("lab.v1",)),
        ("echo_unoffered_subprotocol", "jwt-auth, lab.v1", ("lab.v2",)),
        ("echo_empty_subprotocol", "jwt-auth, jwt.a", ("",)),
        ("two_subprotocols", "jwt-auth, jwt.a", ("jwt-auth", "jwt.a")),
        ("two_subprotocols", "bearer.a", ("bearer.a", "bearer.a")),
    ],
)
def test_a_defect_of_answering(defect, lines, values):
    ledger = Lines()
    hits = Hits(on(*([defect] if defect else [])))
    assert answers(negotiate([lines], hits), hits) == values
    assert answers(negotiate([], hits), hits) == ()
    hits.write(ledger)
    assert ledger.told == ([(defect, {})] if defect else [])


# ------------------------------------------------------------------ origins


@pytest.mark.parametrize(
    ("origins", "authority", "allowed"),
    [
        ([], "lab:80", True),
        (["http://localhost:3000"], "lab", True),
        (["https://LOCALHOST"], "lab", True),
        (["http://127.0.0.1:1"], "lab", True),
        (["http://[::1]:1"], "lab", True),
        (["https://lab"], "lab:8765", True),
        (["http://Lab:1"], "lAB", True),
        (["http://[fe80::1]"], "[fe80::1]:80", True),
        (["https://evil.example"], "lab", False),
        (["https://localhost.evil.example"], "lab", False),
        (["https://evil.example/localhost"], "lab", False),
        (["https://localhost@evil.example"], "lab", False),
        (["https://evil.example#localhost"], "lab", False),
        (["http://lab.evil.example"], "lab", False),
        (["null"], "lab", False),
        (["null"], "null", False),
        ([""], "lab", False),
        (["file://localhost"], "lab", False),
        (["http://localhost http://evil.example"], "lab", False),
        (["http://localhost", "http://localhost"], "lab", False),
        (["http://localhost\n"], "lab", False),
    ],
)
def test_origins(origins, authority, allowed):
    assert is_allowed(origins, authority) is allowed


# ------------------------------------------------------------------ tokens


def refusal(keys, bad, **more):
    with pytest.raises(TokenError) as caught:
        keys.verify(bad, **more)
    return caught.value.code


@pytest.fixture
def keys():
    return Keys(SECRET)


def now():
    return int(time.time())


@pytest.mark.parametrize(
    ("claims", "code"),
    [
        ({"nbf": 100}, "token_not_yet_valid"),
        ({"iat": 100}, "token_not_yet_valid"),
        ({"iat": -86_341}, "lifetime_too_long"),
        ({"exp": 86_460}, "lifetime_too_long"),
        ({"exp": -2}, "token_expired"),
    ],
)
def test_the_times_of_a_token(keys, claims, code):
    shifted = {name: now() + s for name, s in claims.items()}
    assert refusal(keys, token(**shifted)) == code


@pytest.mark.parametrize(
    ("claims", "code"),
    [
        ({"sub": ""}, "missing_claim"),
        ({"sub": " "}, "missing_claim"),
        ({"sub": 7}, "invalid_token"),
        ({"jti": 7}, "invalid_token"),
        ({"exp": "soon"}, "invalid_token"),
        ({"exp": True}, "invalid_token"),
        ({"exp": 10**400}, "invalid_token"),
        ({"exp": 10**300}, "lifetime_too_long"),
        ({"nbf": "now"}, "invalid_token"),
        ({"aud": []}, "missing_claim"),
        ({"aud": ["other"]}, "wrong_audience_or_issuer"),
        ({"iss": None}, "missing_claim"),
        ({"iss": 7}, "wrong_audience_or_issuer"),
    ],
)
def test_the_shape_of_claims(keys, claims, code):
    body = {"sub": "ann", "aud": "probe-lab", "iss": "probe-lab", "exp": now() + 60, **claims}
    assert refusal(keys, signed({"alg": "HS256"}, body)) == code


def signed(header, body, key=KEY):
    """A token by hand: PyJWT does not make all that is needed here."""

    def part(value):
        return base64.urlsafe_b64encode(value).rstrip(b"=")

    text = b".".join(part(json.dumps(each).encode()) for each in (header, body))
    return (text + b"." + part(hmac.digest(key, text, "sha256"))).decode()


def test_a_good_token_at_its_limits(keys):
    start = now()
    for claims in (
        {"iat": start - 100, "exp": start - 100 + LIFETIME_S_MAX},
        {"nbf": start, "iat": start},
        {"aud": ["other", "probe-lab"]},
    ):
        assert keys.verify(token(**claims)).subject == "ann"


def test_a_token_that_names_another_key_is_refused(keys):
    seed = hashlib.sha256(b"probe-lab/ed25519/" + SECRET.encode()).digest()
    private = Ed25519PrivateKey.from_private_bytes(seed)
    claims = {"sub": "ann", "aud": "probe-lab", "iss": "probe-lab", "exp": now() + 60}
    for kid, good in ((None, True), (keys.kid, True), ("another", False), ("", False)):
        made = jwt.encode(claims, private, "EdDSA", headers=None if kid is None else {"kid": kid})
        if good:
            assert keys.verify(made).subject == "ann"
        else:
            assert refusal(keys, made) == "unknown_key"


def test_the_id_of_a_token_is_its_jti_else_what_is_signed(keys):
    one, two = token(jti="x", exp=now() + 50), token(jti="x", exp=now() + 60)
    assert one != two
    assert keys.verify(one).token_id == keys.verify(two).token_id
    assert keys.verify(token(sub="bob", jti="x")).token_id != keys.verify(one).token_id
    plain, other = token(exp=now() + 50), token(exp=now() + 60)
    assert keys.verify(plain).token_id != keys.verify(other).token_id
    # The same signature, padded: another text, but not another token.
    assert keys.verify(plain + "=").token_id == keys.verify(plain).token_id


def test_two_tokens_that_the_lab_mints_are_two(keys):
    one, two = keys.mint("ann", "HS256"), keys.mint("ann", "HS256")
    assert keys.verify(one).token_id != keys.verify(two).token_id
    assert abs(keys.verify(one).expires_at_s - time.time() - 3600) < 60


def public_spellings(keys):
    return dict(zip(["raw", "jwk", "x", "der", "pem", "pem, bare"], keys._readings, strict=True))


@pytest.mark.parametrize("spelling", ["raw", "jwk", "x", "der", "pem", "pem, bare"])
def test_key_confusion_is_excused_and_nothing_else_with_it(keys, spelling):
    public = public_spellings(keys)[spelling]
    body = {"sub": "eve", "aud": "probe-lab", "iss": "probe-lab", "exp": now() + 60}
    forged = signed({"alg": "HS256"}, body, public)
    assert refusal(keys, forged) == "bad_signature"
    assert keys.verify(forged, Hits(on("key_confusion")).draw).subject == "eve"
    expired = signed({"alg": "HS256"}, {**body, "exp": now() - 60}, public)
    assert refusal(keys, expired, excused=Hits(on("key_confusion")).draw) == "token_expired"
    wrong = signed({"alg": "HS256"}, body, b"x" * 32)
    assert refusal(keys, wrong, excused=Hits(on("key_confusion")).draw) == "bad_signature"
    assert keys._readings[4].startswith(b"-----BEGIN PUBLIC KEY-----\n")
    assert keys._readings[2].decode() == keys.jwks()["keys"][0]["x"]


@pytest.mark.parametrize("name", ["none", "None", "NONE"])
def test_alg_none_is_excused_and_nothing_else_with_it(keys, name):
    body = {"sub": "eve", "aud": "probe-lab", "iss": "probe-lab", "exp": now() + 60}
    bare = signed({"alg": name}, body).rpartition(".")[0] + "."
    assert refusal(keys, bare) == "unsupported_algorithm"
    assert keys.verify(bare, Hits(on("alg_none_accepted")).draw).subject == "eve"
    assert keys.unverified_subject(bare) == "eve"
    foreign = signed({"alg": name}, {**body, "aud": "other"}).rpartition(".")[0] + "."
    code = refusal(keys, foreign, excused=Hits(on("alg_none_accepted")).draw)
    assert code == "wrong_audience_or_issuer"


def test_an_expired_token_that_is_excused_lives_on(keys):
    claims = keys.verify(token(exp=now() - 60), Hits(on("expired_accepted")).draw)
    assert claims.expires_at_s > time.time() + LIFETIME_S_MAX - 60


@pytest.mark.parametrize("claims", [{"aud": "x"}, {"iss": "x"}, {"aud": None, "iss": None}])
def test_audience_and_issuer_are_excused_together(keys, claims):
    assert keys.verify(token(**claims), Hits(on("audience_ignored")).draw).subject == "ann"


@pytest.mark.parametrize("text", ["", "a", "eyJ.not.one", token(sub="eyJx"), token(sub="x" * 300)])
def test_whom_a_token_names_is_said_only_when_fit(keys, text):
    assert keys.unverified_subject(text) == "nobody"
    assert keys.unverified_subject(token("another-secret-0123456789-0123456789", sub="z")) == "z"


# ------------------------------------------------------------------ revocations


def claims_of(name, *, subject="ann", iat_s=None, exp_s=60.0):
    return Claims(subject, time.time() + exp_s, name, iat_s)


def set_wall_clock(monkeypatch, at_s):
    monkeypatch.setattr("probe.lab.revocations.time", SimpleNamespace(time=lambda: at_s))


def test_a_revocation_is_told_once_and_before_it_counts():
    lines = Lines()
    told: list[object] = []
    revocations = Revocations(lines)
    one, two = claims_of("one"), claims_of("two")
    revocations.register(
        one, lambda: told.append(("one", revocations.revoked_ns(one), *lines.told))
    )
    revocations.register(two, lambda: told.append(("two",)))
    revocations.revoke(one, 17)
    revocations.revoke(one, 18)
    assert told == [("one", 17, ("token", "ann"))]
    assert revocations.is_revoked(one)
    assert not revocations.is_revoked(two)


def test_what_is_not_registered_any_more_is_not_told():
    told: list[str] = []
    revocations = Revocations(Lines())
    one = claims_of("one")

    def first():
        told.append("first")
        revocations.unregister(one, second)

    def second():
        told.append("second")

    def third():
        told.append("third")

    for each in (first, second, third):
        revocations.register(one, each)
    revocations.unregister(one, third)
    revocations.unregister(claims_of("two", subject="bob"), third)
    revocations.revoke(one, 1)
    assert told == ["first"]
    assert revocations._waiting == {}


def test_a_logout_revokes_what_was_issued_before(monkeypatch):
    at_s = 1_000_000_000.5
    set_wall_clock(monkeypatch, at_s)
    told: list[str] = []
    revocations = Revocations(Lines())
    second = float(int(at_s))
    earlier = claims_of("earlier", iat_s=second - 1)
    shown = claims_of("shown", iat_s=second)
    held = claims_of("held", iat_s=second)
    ageless = claims_of("ageless")
    after = claims_of("after", iat_s=second)
    other = claims_of("other", subject="bob", iat_s=second - 1)
    revocations.know(shown)
    for each in (held, other):
        revocations.register(each, partial(told.append, each.token_id))
    revocations.revoke_user("ann", 5)
    for each in (earlier, shown, held, ageless):
        assert revocations.revoked_ns(each) == 5, each
    for each in (after, other):
        assert not revocations.is_revoked(each), each
    assert told == ["held"]


def test_revocations_are_bounded_and_none_is_forgotten_while_it_counts(monkeypatch):
    revocations = Revocations(Lines())
    for number in range(REVOKED_MAX):
        revocations.revoke(claims_of(f"t{number}", exp_s=60 if number % 2 else 3600), 1)
    with pytest.raises(FullError):
        revocations.revoke(claims_of("more"), 1)
    with pytest.raises(FullError):
        revocations.revoke_user("ann", 1)
    assert revocations.is_revoked(claims_of("t0"))
    set_wall_clock(monkeypatch, time.time() + 600)
    revocations.revoke(claims_of("more"), 1)
    assert revocations.is_revoked(claims_of("t0"))
    assert not revocations.is_revoked(claims_of("t1"))
    assert len(revocations._tokens) == REVOKED_MAX // 2 + 1


def test_at_the_bound_a_revocation_is_to_be_tried_again():
    answer = oauth.refusal(FullError())
    assert (answer.status, answer.headers["Retry-After"]) == (503, "1")


def test_known_tokens_are_bounded():
    revocations = Revocations(Lines())
    for number in range(KNOWN_MAX + 10):
        revocations.know(claims_of(f"t{number}"))
    assert len(revocations._known) == KNOWN_MAX
    assert "t9" not in revocations._known


# ------------------------------------------------------------------ the breaker


class Clock:
    def __init__(self, monkeypatch):
        self.ns = 0
        clock = SimpleNamespace(perf_counter_ns=lambda: self.ns)
        monkeypatch.setattr("probe.lab.breaker.time", clock)


@pytest.fixture
def clock(monkeypatch):
    return Clock(monkeypatch)


def refused_for(breaker):
    with pytest.raises(OpenError) as caught:
        breaker.enter("/ws")
    return caught.value.retry_after_s


def test_the_breaker_opens_half_opens_and_closes(clock):
    lines = Lines()
    breaker = Breaker(lines, on("breaker_global"))
    for good in (False, False, True, False, False):
        assert breaker.enter("/ws") == 0
        breaker.decided(good=good)
    assert breaker.enter("/ws") == 0
    clock.ns = 5 * S
    breaker.decided(good=False)  # the third in a row
    assert refused_for(breaker) == 15
    clock.ns = 19 * S + 1
    breaker.decided(good=True)  # of one that was let in before
    assert refused_for(breaker) == 1
    assert lines.told[-1] == ("breaker_global", {"endpoint": "/ws", "after_ns": 14 * S + 1})
    clock.ns = 20 * S
    first = breaker.enter("/ws")
    assert first
    assert refused_for(breaker) == 1  # alone
    breaker.leave(first)  # undecided
    second = breaker.enter("/ws")
    assert second not in (0, first)
    breaker.leave(first)
    assert refused_for(breaker) == 1
    breaker.decided(good=False)
    breaker.leave(second)
    assert refused_for(breaker) == 15
    clock.ns = 35 * S
    assert breaker.enter("/ws")
    breaker.decided(good=True)
    assert breaker.enter("/ws") == 0
    breaker.decided(good=False)
    breaker.decided(good=False)
    assert breaker.enter("/ws") == 0  # counted anew


def test_a_half_open_breaker_tells_how_long_the_trial_has_gone_on(clock):
    lines = Lines()
    breaker = Breaker(lines, on("breaker_half_open"))
    for _ in range(3):
        breaker.decided(good=False)
    clock.ns = S - 1
    assert refused_for(breaker) == 1  # open for 1 s
    clock.ns = 2 * S
    assert breaker.enter("/ws")
    clock.ns = 2 * S + 30
    assert refused_for(breaker) == 1
    name = "breaker_half_open"
    assert [(defect, fields["after_ns"]) for defect, fields in lines.told] == [
        (name, S - 1),
        (name, 30),
    ]
    breaker.decided(good=True)
    assert breaker.enter("/ws") == 0


def test_a_breaker_that_sticks_never_closes(clock):
    lines = Lines()
    breaker = Breaker(lines, on("breaker_sticks"))
    for _ in range(3):
        breaker.decided(good=False)
    for hours in (0, 1, 100):
        clock.ns = hours * 3600 * S
        assert refused_for(breaker) == 15
        breaker.decided(good=True)
    assert [defect for defect, _ in lines.told] == ["breaker_sticks"] * 3


def test_done_right_there_is_no_breaker_and_one_switched_off_forgets(clock):
    defects = Defects(1, 1, [])
    breaker = Breaker(Lines(), defects)
    for _ in range(5):
        breaker.decided(good=False)
    defects.change({"breaker_global": "2s"})
    assert breaker.enter("/ws") == 0
    for _ in range(3):
        breaker.decided(good=False)
    assert refused_for(breaker) == 2
    defects.change({"breaker_global": None})
    assert breaker.enter("/ws") == 0
    defects.change({"breaker_global": "2s"})
    assert breaker.enter("/ws") == 0


def test_a_slow_accept_is_a_tail_by_default():
    hits = Hits(Defects(1, 1, [("slow_accept_tail", None)]))
    assert 5 < sum(hits.draw("slow_accept_tail") for _ in range(1_000)) < 40


def test_hits_are_drawn_with_the_seed_and_written_in_the_ledger(tmp_path):
    path = tmp_path / "ledger"
    defects = Defects(3, 1, [("origin_ignored", "0.5")])
    drawn = [defects.hits("origin_ignored") for _ in range(20)]
    hits = Hits(Defects(3, 1, [("origin_ignored", "0.5")]))
    assert [hits.draw("origin_ignored") for _ in range(20)] == drawn
    hits.write(Ledger(path, 1), user_id="ann")
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert len(lines) == sum(drawn)
    assert {(line["defect"], line["user_id"]) for line in lines} == {("origin_ignored", "ann")}
