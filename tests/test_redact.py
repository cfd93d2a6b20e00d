"""Secrets leave no trace, and what is no secret stays as it is."""

import base64
import json
import re
from urllib.parse import quote, quote_plus

import jwt
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from probe.redact import Redactor, mask

STRETCH = 11
TOKENS = st.text("abcdefghijkmnopqrstuvwyzABCDEFGHIJKLMNOPQRSTUVWYZ123456789-_+/=.!%", min_size=3)
ANY = st.text(st.characters(codec="utf-8", exclude_categories=["Cc"]), min_size=3, max_size=40)
SHAPE = set(" -._~+/=xX0#")
RUN_KEY = "correct-Horse7battery+Staple/9=="
AWKWARD = 'p"a\\s/s w&rd\u00e9\U0001f600+%1'


def stretches(secret: bytes) -> set[bytes]:
    return {secret[i : i + STRETCH] for i in range(len(secret) - STRETCH + 1)}


def telling(piece: bytes) -> bool:
    """Whether masking could change a piece at all."""
    return mask(piece) != piece


def classes(data: bytes) -> list[str]:
    kinds = []
    for char in data.decode("latin-1"):
        if char.isascii() and char.isalpha():
            kinds.append("upper" if char.isupper() else "lower")
        elif char.isascii() and char.isdigit():
            kinds.append("digit")
        else:
            kinds.append("other")
    return kinds


@settings(deadline=None, max_examples=300)
@given(st.lists(TOKENS | ANY, min_size=1, max_size=4), st.data())
def test_no_stretch_of_a_secret_survives_however_it_is_cut_and_embedded(secrets, data):
    raw = [secret.encode() for secret in secrets]
    parent = Redactor(*secrets[: len(secrets) // 2])
    redactor = Redactor(*secrets[len(secrets) // 2 :], parent=parent)
    pieces = []
    for _ in range(data.draw(st.integers(1, 5))):
        secret = data.draw(st.sampled_from(raw))
        low = data.draw(st.integers(0, len(secret)))
        high = data.draw(st.integers(low, len(secret)))
        pieces += [data.draw(st.binary(max_size=9)), secret[low:high]]
    text = b"".join(pieces)
    out = redactor.redact(text)
    assert len(out) == len(text)
    assert classes(out) == classes(text)
    for secret in raw:
        for piece in stretches(secret):
            assert piece not in out or not telling(piece)
        if len(secret) >= 3 and secret in text and telling(secret):
            # Whole secrets are masked however short, unless another's mask looks alike.
            assert secret not in out


@settings(deadline=None, max_examples=100)
@given(st.binary(max_size=200))
def test_what_holds_no_secret_is_unchanged(data):
    assume(b"eyJ" not in data)
    redactor = Redactor("\x00QQQQ-none-of-it-QQQQ\x00", parent=Redactor(RUN_KEY))
    assume(not any(data[i : i + 3] in RUN_KEY.encode() for i in range(len(data) - 2)))
    assert redactor.redact(data) == data


def test_text_around_a_secret_is_unchanged():
    redactor = Redactor(RUN_KEY)
    assert redactor.text(f"before {RUN_KEY} after") == (
        "before xxxxxxx-Xxxxx0xxxxxxx+Xxxxxx/0== after"
    )
    # Up to ten characters of it are no stretch that anyone could use.
    assert redactor.text("a correct-Ho a") == "a correct-Ho a"
    assert redactor.text("a correct-Hor a") == "a xxxxxxx-Xxx a"


@pytest.mark.parametrize("offset", range(8))
def test_a_stretch_is_found_at_every_alignment(offset):
    for low in range(len(RUN_KEY) - STRETCH + 1):
        piece = RUN_KEY[low : low + STRETCH]
        out = Redactor(RUN_KEY).text("." * offset + piece + ".")
        assert out == "." * offset + mask(piece.encode()).decode() + "."


@pytest.mark.parametrize("secret", [RUN_KEY, AWKWARD, "hunter2"])
@pytest.mark.parametrize(
    "encode",
    [
        lambda text: base64.b64encode(text.encode()).decode(),
        lambda text: base64.urlsafe_b64encode(text.encode()).decode().rstrip("="),
        lambda text: quote(text, safe=""),
        quote,
        quote_plus,
        lambda text: re.sub("%..", lambda match: match[0].lower(), quote(text, safe="")),
        json.dumps,
        lambda text: json.dumps(text, ensure_ascii=False),
        lambda text: json.dumps(text).replace("/", "\\/"),
    ],
    ids=["b64", "b64url", "percent", "path", "form", "lower", "json", "json-utf8", "json-slash"],
)
def test_encodings_of_a_secret_are_masked(secret, encode):
    written = encode(secret).strip('"')
    out = Redactor(secret).text(f"<{written}>")
    assert out != f"<{written}>"
    assert len(out.encode()) == len(written.encode()) + 2
    body = out[1:-1]
    assert set(body) <= SHAPE | set("\u00e5\u2965\U00025965")
    again = Redactor(secret, parent=Redactor()).text(f"<{written}>")
    assert written not in again


@pytest.mark.parametrize("secret", [RUN_KEY, "hunter2-and-more"])
@pytest.mark.parametrize("before", range(7))
def test_a_secret_within_something_that_is_encoded_is_masked(secret, before):
    whole = base64.b64encode(f"{'u' * before}:{secret}:{'t' * before}".encode()).decode()
    for redactor in (Redactor(secret), Redactor(secret, parent=Redactor())):
        gone_within(redactor, secret, whole)


def gone_within(redactor, secret, whole):
    out = redactor.text(f"Basic {whole}")
    left = out.removeprefix("Basic ")
    decoded = base64.b64decode(left + "=" * (-len(left) % 4))
    for piece in stretches(secret.encode()):
        assert piece not in decoded


@pytest.mark.parametrize("secret", [RUN_KEY, AWKWARD])
@pytest.mark.parametrize("upper", [False, True])
def test_a_secret_byte_by_byte_is_masked(secret, upper):
    units = secret.encode("utf-16-be").hex()
    escaped = "".join(f"\\u{units[at : at + 4]}" for at in range(0, len(units), 4))
    for written in (secret.encode().hex(), escaped):
        form = written.upper().replace("\\U", "\\u") if upper else written
        for redactor in (Redactor(secret), Redactor(secret, parent=Redactor())):
            assert redactor.text(f"<{form}>") == f"<{mask(form.encode()).decode()}>"


@pytest.mark.parametrize("secret", ["abc", "abcd", "s3cret", "0123456789"])
def test_short_secrets_are_masked_whole(secret):
    out = Redactor(secret).text(f"is {secret}, not {secret[:-1]}")
    assert out == f"is {mask(secret.encode()).decode()}, not {secret[:-1]}"


@pytest.mark.parametrize("secret", ["", "a", "ab"])
def test_what_is_too_short_to_be_a_secret_masks_nothing(secret):
    assert Redactor(secret).text("a b ab abab") == "a b ab abab"


def test_signs_and_letters_beyond_ascii_are_masked_too():
    secret = "\u043f\u0430\u0440\u043e\u043b\u044c!?\u6f22\u5b57\U0001f600"
    out = Redactor(secret).text(f"[{secret}]")
    assert out == "[" + "\u00e5" * 6 + "##" + "\u2965\u2965\U00025965" + "]"
    assert Redactor("!!??$$&&##!!").text("!!??$$&&##!!") == "#" * 12


def test_json_web_tokens_of_nobody_we_know_are_masked():
    token = jwt.encode({"sub": "x"}, "k" * 32, algorithm="HS256")
    out = Redactor().text(f'{{"token":"{token}","n":1}}')
    assert out == f'{{"token":"{mask(token.encode()).decode()}","n":1}}'
    for cut in range(8, len(token)):
        piece = Redactor().text(token[:cut] + '"')
        assert piece == mask(token[:cut].encode()).decode() + '"'
    assert Redactor().text("eyJ is no token, nor is heyJude") == "eyJ is no token, nor is heyJude"


def test_a_known_token_is_masked_also_from_its_middle():
    token = jwt.encode({"sub": "somebody"}, "k" * 32, algorithm="HS256")
    redactor = Redactor(token, parent=Redactor())
    for low in range(0, len(token) - STRETCH, 3):
        out = redactor.text(token[low:]).encode()
        assert not any(piece in out for piece in stretches(token.encode()))


def test_parent_and_child():
    parent = Redactor("parents-secret-1")
    child, other = Redactor("childs-secret-22", parent=parent), Redactor(parent=parent)
    text = "parents-secret-1 childs-secret-22 laters-secret-3"
    parent.add("laters-secret-3")
    assert child.text(text) == "xxxxxxx-xxxxxx-0 xxxxxx-xxxxxx-00 xxxxxx-xxxxxx-0"
    assert other.text(text) == "xxxxxxx-xxxxxx-0 childs-secret-22 xxxxxx-xxxxxx-0"
    other.add(b"childs-secret-22")
    assert other.text(text) == child.text(text)


def test_many_secrets_are_looked_up_as_well_as_few():
    # Beyond some size the search goes through an index; both must find the same.
    secrets = [f"secret-{n:04d}-{'abcdefgh'[n % 8] * 4}-{n * 7919:08d}" for n in range(400)]
    many = Redactor(*secrets)
    for secret in secrets[::37]:
        assert many.text(secret[3:20]) == Redactor(secret).text(secret[3:20])
        assert many.text(secret[3:20]) == mask(secret[3:20].encode()).decode()


@pytest.mark.parametrize("text", ["\ud800 abc-secret", "\U0001f600 abc-secret"])
def test_texts_that_are_no_utf8_pass(text):
    assert Redactor("abc-secret").text(text) == text[:2] + "xxx-xxxxxx"


def test_bytes_that_are_no_text_are_masked_and_kept_in_length():
    secret = bytes(range(128, 160))
    out = Redactor(secret).redact(b"\xff" + secret + b"\xfe")
    assert out == b"\xff" + b"\xa5" * 32 + b"\xfe"
