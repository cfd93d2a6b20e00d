"""Templates filled in: every place a token goes, and what no handshake may hold."""

import json

import pytest

from probe.auth.present import present
from probe.errors import ConfigError
from probe.model.dialect import Presentation

JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhIn0.c2lnLV9uYXR1cmU"


def refusal(token, user="", **fields):
    with pytest.raises(ConfigError) as caught:
        present(Presentation(**fields), token, user, "d.toml")
    assert token == "" or token not in str(caught.value)
    return str(caught.value)


def test_every_place_at_once():
    shown = present(
        Presentation(
            subprotocols=("jwt-auth", "jwt.{token}"),
            headers={"Authorization": "Bearer {token}", "X-User": "{user}"},
            query={"token": "{token}", "v": "1"},
            cookies={"session": "{token}", "u": "{user}"},
            first_message='{"type": "auth", "token": "{token}", "user": "{user}"}',
        ),
        JWT,
        "ann",
    )
    assert shown.subprotocols == ("jwt-auth", f"jwt.{JWT}")
    assert shown.headers == (
        ("Authorization", f"Bearer {JWT}"),
        ("X-User", "ann"),
        ("Cookie", f"session={JWT}; u=ann"),
    )
    assert shown.query == (("token", JWT), ("v", "1"))
    assert json.loads(shown.first_message or b"") == {"type": "auth", "token": JWT, "user": "ann"}
    assert JWT not in repr(shown)


def test_query_is_percent_encoded_and_json_escaped():
    token = 'a+b/c=&?#" \\é{user}'
    shown = present(
        Presentation(query={"to ken": "{token}"}, first_message='{"t":"{token}"}'), token, "ann"
    )
    assert shown.query == (("to%20ken", "a%2Bb%2Fc%3D%26%3F%23%22%20%5C%C3%A9%7Buser%7D"),)
    assert json.loads(shown.first_message or b"") == {"t": token}


def test_without_a_token_what_needs_one_is_left_out():
    shown = present(
        Presentation(
            subprotocols=("jwt-auth", "jwt.{token}"),
            headers={"Authorization": "Bearer {token}", "X-A": "1"},
            query={"token": "{token}"},
            cookies={"s": "{token}"},
            first_message="{token}",
        ),
        "",
    )
    assert shown.subprotocols == ("jwt-auth",)
    assert shown.headers == (("X-A", "1"),)
    assert shown.query == ()
    assert shown.first_message is None


@pytest.mark.parametrize(
    ("token", "fields", "why"),
    [
        (JWT, {"subprotocols": ("token={token}",)},
         "`token={token}` is not a legal subprotocol: '=' is no token character"),
        ("c2Vj/cmV0", {"subprotocols": ("bearer.{token}",)}, "'/' in what is put in is no token"),
        (JWT, {"subprotocols": ("a b",)}, "' ' is no token character"),
        (JWT, {"subprotocols": ("",)}, "it is empty"),
        (JWT, {"subprotocols": ("a", "a")}, "offered twice"),
        ("sec\r\nret", {"headers": {"A": "Bearer {token}"}}, r"'\r' in what is put in"),
        ("sec\nret", {"headers": {"A": "{token}"}}, r"'\n' in what is put in"),
        ("secré", {"headers": {"A": "{token}"}}, "no visible ASCII character"),
        (JWT, {"headers": {"A": "x\ny{token}"}}, "headers.A: `x"),
        ("secret ", {"headers": {"A": "{token}"}}, "has blanks around it"),
        (JWT, {"headers": {"A B": "1"}}, "`A B` is not a legal name"),
        ("sec;ret", {"cookies": {"s": "{token}"}}, "';' in what is put in is no cookie character"),
        ("sec,ret", {"cookies": {"s": "{token}"}}, "','"),
        (JWT, {"cookies": {"s=": "1"}}, "not a legal name"),
    ],
)  # fmt: skip
def test_refusals_name_the_template_and_hide_the_token(token, fields, why):
    assert why in refusal(token, **fields)


def test_a_user_is_judged_too():
    assert "no visible ASCII" in refusal(JWT, "zoë", headers={"X-User": "{user}"})
    assert "it is empty" in refusal(JWT, "", headers={"X-User": "{user}"})


def test_every_mistake_is_told_at_once():
    text = refusal(JWT, subprotocols=("a=b",), headers={"A B": "x"}, cookies={"s": "a b"})
    assert len(text.splitlines()) == 3
