"""What a run was held to, as stored: reads back as it was, and tells no secret."""

import functools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from probe.errors import ConfigError
from probe.model.dialect import Dialect
from probe.model.resolved import Resolved, shown_url, target_facts
from probe.model.scenario import Scenario
from probe.model.target import Target

NS = st.integers(0, 2**62).map(lambda ns: f"{ns}ns")
NAMES = st.from_regex(r"[a-z][a-z0-9_]{0,5}", fullmatch=True)
TEXTS = st.text(st.characters(codec="utf-8"), max_size=12).filter(
    lambda text: "${PROBE_" not in text  # no file can hold it
)
RATES = st.floats(1e-3, 1e6).map(lambda hz: f"{hz:.6f}/s")
SHAPES = st.one_of(
    st.fixed_dictionaries({"rate": RATES, "lasts": st.integers(1, 9**9).map(lambda s: f"{s}ms")}),
    st.fixed_dictionaries({"clients": st.integers(1, 99)}, optional={"lasts": NS}),
    st.lists(st.tuples(st.integers(1, 10**12), RATES), min_size=1, max_size=4).map(
        lambda points: {"rate_curve": [["0", "5/s"], *([f"{t}ns", r] for t, r in sorted(points))]}
    ),
)
STEPS = st.one_of(
    st.fixed_dictionaries({"do": st.just("connect")}, optional={"ready": st.booleans()}),
    st.fixed_dictionaries({"do": st.just("send"), "text": TEXTS}),
    st.fixed_dictionaries({"do": st.just("run")}, optional={"count": st.integers(1, 9)}),
    st.fixed_dictionaries({"do": st.just("hold"), "lasts": NS}),
    st.fixed_dictionaries({"do": st.just("await"), "event": TEXTS, "within": NS}),
)
POPULATIONS = st.fixed_dictionaries(
    {"shape": SHAPES},
    optional={
        "script": st.just("visit") | st.lists(STEPS, min_size=1, max_size=4),
        "finally": st.lists(STEPS, max_size=2),
        "endpoints": st.lists(NAMES, max_size=2),
        "retry": st.booleans(),
        "jitter": st.floats(0, 1),
        "users": st.integers(1, 9),
    },
)
LATENCY = st.fixed_dictionaries(
    {"within": NS},
    optional={
        "quantile": st.decimals("0.1", "99.9", places=3).map(lambda q: f"p{q.normalize():f}"),
        "phase": st.sampled_from(["tcp", "connect"]),
        "population": NAMES,
    },
)
STAGES = st.fixed_dictionaries(
    {"populations": st.dictionaries(NAMES, POPULATIONS, min_size=1, max_size=2)},
    optional={
        "trials": st.integers(1, 99),
        "budget": NS,
        "health_every": NS,
        "gate": st.booleans() | st.floats(0, 1),
        "expect": st.fixed_dictionaries(
            {},
            optional={
                "latency": st.lists(LATENCY, max_size=2),
                "success": st.fixed_dictionaries({"rate": st.floats(0, 1)}),
                "definite": st.booleans(),
                "delivery": st.fixed_dictionaries({}, optional={"completeness": st.floats(0, 1)}),
            },
        ),
    },
)
SCENARIOS = st.fixed_dictionaries(
    {"title": TEXTS, "stages": st.dictionaries(NAMES, STAGES, min_size=1, max_size=2)},
    optional={"keep_messages": st.integers(0, 9)},
)
PRESENTATIONS = st.fixed_dictionaries(
    {},
    optional={
        "subprotocols": st.lists(TEXTS, max_size=2),
        "headers": st.dictionaries(TEXTS, TEXTS, max_size=2),
        "selects": TEXTS,
        "first_message": TEXTS,
    },
)
DIALECTS = st.fixed_dictionaries(
    {"title": TEXTS, "present": PRESENTATIONS.map(lambda each: {"default": each})},
    optional={
        "retry": st.lists(NS, max_size=3),
        "message_max": st.integers(0, 2**40).map(lambda size: f"{size}B"),
        "run": st.lists(TEXTS, min_size=1, max_size=3, unique=True).flatmap(
            lambda events: st.fixed_dictionaries(
                {"start": TEXTS, "events": st.just(events)}, optional={"within": NS}
            )
        ),
    },
)
SCENARIO = {"title": "s", "stages": {"a": {"populations": {"b": {"shape": {"clients": 1}}}}}}
DIALECT = Dialect.model_validate({"title": "d", "present": {"default": {}}})


@settings(deadline=None, max_examples=100)
@given(SCENARIOS, DIALECTS)
def test_what_is_stored_reads_back_equal(scenario, dialect):
    stored = Resolved(
        "n", Scenario.model_validate(scenario), Dialect.model_validate(dialect), {"name": "t"}
    )
    assert Resolved.from_toml(stored.to_toml(), "f") == stored


async def visit(session):
    await session.connect()


class Callable:
    async def __call__(self, session):
        await session.connect()


@pytest.mark.parametrize(
    ("script", "name"),
    [
        (visit, f"python:{__name__}:visit"),
        (Callable(), f"python:{__name__}:Callable"),
        (functools.partial(visit), "python:functools:partial"),
    ],
)
def test_a_python_script_is_stored_by_name_and_never_run(script, name):
    stages = {"a": {"populations": {"b": {"shape": {"clients": 1}, "script": script}}}}
    scenario = Scenario.model_validate({"title": "s", "stages": stages})
    assert scenario.stages["a"].populations["b"].script is script
    text = Resolved("n", scenario, DIALECT, {"name": "t"}).to_toml()
    again = Resolved.from_toml(text, "f")
    assert again.scenario.stages["a"].populations["b"].script == name
    assert again.to_toml() == text


def test_of_the_target_only_facts_are_kept():
    secret = "hunter2-and-more"
    target = Target.model_validate(
        {
            "title": "t",
            "endpoints": {"a": {"url": f"wss://h.example:8443/ws?key={secret}&b#f"}},
            "services": {"b": {"url": f"https://user:{secret}@h.example/health"}},
            "safety": {"may_load": True, "clients_max": 5, "rate_max": "90/min"},
            "network": {"proxy": f"http://user:{secret}@p:1", "headers": {"X-Key": secret}},
            "auth": {"source": "env", "token": secret},
        }
    )
    facts = target_facts("t", target)
    stored = Resolved("n", Scenario.model_validate(SCENARIO), DIALECT, facts)
    text = stored.to_toml()
    assert secret not in text
    assert Resolved.from_toml(text, "f") == stored
    assert facts["endpoints"] == {"a": "wss://h.example:8443/ws?key=…&b=…"}
    assert facts["services"] == {"b": "https://h.example/health"}
    assert facts["safety"] == {
        "may_load": True,
        "clients_max": 5,
        "rate_max": "1.5/s",
        "bad_tokens": True,
    }
    assert facts["auth"] == {"source": "env"}


def test_shown_urls():
    assert shown_url("ws://{lab}/ws") == "ws://{lab}/ws"
    assert shown_url("ws://u:p@[::1]:1/a?x=1") == "ws://[::1]:1/a?x=…"


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("x = ", ""),
        ("schema = 2", "schema"),
        ("", "schema"),
        ("schema = 1", "scenario"),
        ('schema = 1\nscenario = "x"', "scenario"),
        ("schema = 1\n[scenario]\n[dialect]\n", "target"),
        ("schema = 1\n[scenario]\n[dialect]\n[target]\n", "title"),
    ],
)
def test_what_is_none_is_told(text, path):
    with pytest.raises(ConfigError) as caught:
        Resolved.from_toml(text, "f")
    assert caught.value.problems[0].path == path
