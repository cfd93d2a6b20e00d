"""What is said where a file, a name or a token is wrong: where, what, and how it is mended."""

import asyncio

import pytest
from aiohttp import web

from probe.auth.listed import parse
from probe.auth.tokens import Tokens
from probe.errors import AuthError, ConfigError
from probe.model.auth import CsvAuth, FetchAuth, check_token_text
from probe.model.reading import build
from probe.model.scenario import Scenario
from probe.model.target import Target
from probe.redact import Redactor

KEY = "a-key-of-the-tests-that-is-long-enough"
TARGET = (
    'title = "t"\ndialect = "plain"\n[endpoints.main]\nurl = "ws://127.0.0.1:9/"\n'
    f'[auth]\nsource = "mint"\nkey = "{KEY}"\n'
)
GATE, SWEPT, CONNECT = {"do": "gate"}, {"do": "gate", "offset": "swept"}, {"do": "connect"}


# Names and places.


def test_validate_checks_every_file_of_a_name(probe):
    probe.write("scenarios/targets/mine.toml", TARGET)
    probe.write("scenarios/dialects/mine.toml", 'title = "t"\nnonsense = 1\n')
    done = probe.inside("validate", "mine")
    assert done.code == 2
    assert "ok  target" in done.out
    assert "dialects/mine.toml: nonsense: no such key" in done.err


@pytest.mark.parametrize("key", ["script", "finally"])
def test_validate_finds_a_gate_outside_of_a_race(probe, key):
    steps = '[{ do = "connect" }, { do = "gate" }]'
    body = f"[stages.x.populations.a]\nshape = {{ clients = 1 }}\n{key} = {steps}\n"
    done = probe.inside("validate", probe.scenario(body))
    assert done.code == 2, done.told
    where = f"scenarios/small.toml: stages.x.populations.a.{key}.1: a gate is where the actors"
    assert where in done.err
    assert 'activity = "race"' in done.err
    assert "ok " not in done.out


def problems(stage):
    with pytest.raises(ConfigError) as caught:
        build(Scenario, {"title": "t", "stages": {"one": stage}}, "s.toml")
    return [str(each) for each in caught.value.problems]


def racing(*script, **how):
    race = {"range": ["0ms", "200ms"], "actors": {"client": {"script": list(script)}}}
    return {"activity": "race", "expect": {"race": True}, "race": race | how}


def test_a_race_in_a_stage_that_is_none():
    (one,) = problems(racing(GATE, CONNECT, SWEPT, CONNECT) | {"activity": "load"})
    assert one.startswith('s.toml: stages.one: `race` goes with activity = "race"; found "load"')
    (one,) = problems({"activity": "race"})
    assert 'activity = "race" needs a table `race`' in one


@pytest.mark.parametrize("given", ["400ms", ["0ms"], ["0ms", "1s", "2s"], 5])
def test_a_range_is_two_offsets(given):
    (one,) = problems(racing(GATE, CONNECT, SWEPT, CONNECT, range=given))
    assert "stages.one.race.range: a range is two offsets; found" in one
    assert 'allowed: such as ["0ms", "400ms"]' in one


@pytest.mark.parametrize(
    ("offset", "says"),
    [
        ("12", "an offset needs a unit: '12ms'; found '12'; allowed: "),
        (12, "an offset needs a unit: '12ms'; found 12; allowed: "),
        ("-1.5", "an offset needs a unit: '-1.5ms'; found '-1.5'; "),
        ("sweep", "not a duration; found 'sweep'; allowed: "),
    ],
)
def test_an_offset_that_is_none_is_one_mistake(offset, says):
    gate = GATE | {"offset": offset}
    (one,) = problems(racing(gate, CONNECT, SWEPT, CONNECT))
    assert f"client.script.0.offset: {says}" in one
    assert one.endswith(", or 'swept'")


def test_a_gate_keeps_its_offset_on_the_way_through_a_file():
    for offset, ns in (("-20ms", -20_000_000), ("0", 0), (0, 0), ("swept", "swept")):
        given = racing(GATE | {"offset": offset}, CONNECT, GATE | {"offset": "swept"}, CONNECT)
        if offset == "swept":
            given["race"]["actors"]["client"]["script"][2] = GATE
            given["race"]["range"] = ["-200ms", "0ms"]
        scenario = build(Scenario, {"title": "t", "stages": {"one": given}}, "s")
        race = scenario.stages["one"].race
        assert race is not None
        assert race.actors["client"].gates[0].offset == ns
        again = build(Scenario, scenario.model_dump(mode="json", by_alias=True), "s")
        assert again == scenario


@pytest.mark.parametrize(
    ("script", "found"),
    [
        ((CONNECT,), "found no gate at all"),
        ((GATE, CONNECT), "found none"),
        ((SWEPT, CONNECT, SWEPT, CONNECT), "found 2: actors.client.script.0, actors.client.script"),
    ],
)
def test_which_gates_are_swept(script, found):
    (one,) = problems(racing(*script))
    assert f'exactly one gate has offset = "swept"; {found}' in one


def test_a_value_that_ought_to_be_a_list():
    (one,) = problems({"populations": {"a": {"shape": {"clients": 1}, "endpoints": "main"}}})
    assert "endpoints: a list belongs here; found 'main'" in one


# Tokens and headers from outside.


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("secret\nx", "a line break"),
        ("secret\rx", "a line break"),
        ("secret\0x", "a NUL"),
        ("secret\x1bx", "a control character"),
        ("secret\udcffx", "bytes that are not UTF-8"),
    ],
)
def test_what_no_header_holds_is_told_and_not_shown(text, what):
    with pytest.raises(ValueError, match=f"^holds {what}$"):
        check_token_text(text)
    with pytest.raises(ConfigError) as caught:
        parse(f'user,token\nann,"{text}"\n', CsvAuth(source="csv", file="f"), "users.csv")
    assert f"holds {what}" in str(caught.value)
    assert "users.csv: the token in line " in str(caught.value)
    assert "secret" not in str(caught.value)


def test_tokens_that_a_header_can_hold_pass():
    for token in ("abc.def-_", "with blank", "tab\tin it", "pass wörd"):
        check_token_text(token)


def test_a_token_of_two_lines_in_a_variable_of_a_target():
    data = {
        "title": "t", "dialect": "plain", "endpoints": {"main": {"url": "ws://127.0.0.1:9/"}},
        "auth": {"source": "env", "token": "${PROBE_TOKEN}"},
        "network": {"headers": {"X-Key": "${PROBE_KEY}"}},
    }  # fmt: skip
    values = {"PROBE_TOKEN": "secret\nsecret", "PROBE_KEY": "hidden\r\nX-Other: 1"}
    with pytest.raises(ConfigError) as caught:
        build(Target, data, "target.toml", values)
    told = str(caught.value)
    assert "target.toml: auth.token: the token holds a line break: give the token alone" in told
    assert "target.toml: network.headers: header 1 holds a line break" in told
    assert "secret" not in told
    assert "hidden" not in told


def test_a_token_of_two_lines_from_an_endpoint():
    async def ask():
        async def answer(_):
            return web.json_response({"access_token": "secret\nsecret"})

        app = web.Application()
        app.router.add_post("/token", answer)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port = runner.addresses[0][1]
        auth = FetchAuth(
            source="fetch", url=f"http://127.0.0.1:{port}/token", grant="custom", fields={"a": "b"}
        )
        try:
            async with Tokens(auth, seed=0, redactor=Redactor()) as tokens:
                await tokens.identities([0])
        finally:
            await runner.cleanup()

    with pytest.raises(AuthError, match=r"no usable text \(it holds a line break\)") as caught:
        asyncio.run(ask())
    assert "secret" not in str(caught.value)


def test_who_puts_the_summary_of_a_token_into_a_variable_is_told(probe):
    probe.write("scenarios/targets/mine.toml", TARGET)
    done = probe.inside("token", "-t", "mine")
    assert done.code == 0, done.told
    assert "--show" in done.err
    assert "--show" not in done.out
    shown = probe.inside("token", "-t", "mine", "--show")
    assert not shown.err
    assert shown.out.count(".") == 2
