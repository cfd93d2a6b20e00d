"""Reading files: every mistake at once, each with all that it takes to mend it, no secrets."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from probe.errors import ConfigError, Problem
from probe.model.dialect import Dialect
from probe.model.reading import assign, build, nearest, parse
from probe.model.scenario import Limit, Scenario
from probe.model.target import Target

SECRET = "hunter2-and-more"
TARGET = """
title = "T"
[endpoints.main]
url = "ws://127.0.0.1:1/ws"
"""


def problems(model, text, variables=None):
    with pytest.raises(ConfigError) as caught:
        build(model, parse(text, "file.toml"), "file.toml", variables)
    return {problem.path: problem for problem in caught.value.problems}


def test_every_mistake_is_told_at_once_with_place_finding_and_remedy():
    found = problems(
        Scenario,
        """
title = 5
stagse = 1
[stages.load]
trails = 3
budget = 5
activity = "laod"
[stages.load.populations.users]
shape = { rate = "5", lasts = "1s" }
script = [{do="conect"}, {do="close", code=1}, {do="hold"}, {do="run", cout=1}, {}]
[stages.load.populations.other]
shape = { clients = 5 }
script = "vist"
finally = [{do="http", service="b", path="x"}]
[stages.load.expect]
latency = [{phase="conect", quantile="q", within="1s"}]
""",
    )
    users = "stages.load.populations.users"
    other = "stages.load.populations.other"
    limit = "stages.load.expect.latency.0"
    assert set(found) == {
        "title", "stagse", "stages.load.trails", "stages.load.budget", "stages.load.activity",
        f"{users}.shape.rate", f"{users}.script.0.do", f"{users}.script.1.code",
        f"{users}.script.2.lasts", f"{users}.script.3.cout", f"{users}.script.4.do",
        f"{other}.script", f"{other}.finally.0.path", f"{limit}.phase", f"{limit}.quantile",
    }  # fmt: skip
    assert {problem.origin for problem in found.values()} == {"file.toml"}
    assert found["stagse"].hint == "did you mean 'stages'?"
    assert found["stages.load.trails"].hint == "did you mean 'trials'?"
    assert "trials" in found["stages.load.trails"].allowed.split(", ")
    assert found["stages.load.activity"].found == "'laod'"
    assert found["stages.load.activity"].hint == "did you mean 'load'?"
    assert found["stages.load.budget"].message == "a duration needs a unit: '5s'"
    assert found["stages.load.budget"].found == "5"
    assert "'250ms'" in found["stages.load.budget"].allowed
    assert found[f"{users}.script.0.do"].found == "'conect'"
    assert found[f"{users}.script.0.do"].hint == "did you mean 'connect'?"
    assert found[f"{users}.script.3.cout"].allowed == "count, do, pad, size, thread, wait"
    assert found[f"{users}.script.2.lasts"].message == "this key is missing"
    assert found[f"{other}.script"].found == "'vist'"
    assert found[f"{limit}.phase"].hint == "did you mean 'connect'?"
    assert str(found["title"]) == "file.toml: title: Input should be a valid string; found 5"


@pytest.mark.parametrize("text", ["a =", 'a = "x', "[a]\n[a]\n", "a = 1e", f"a = {'9' * 5000}"])
def test_what_is_no_toml_is_told_with_its_file(text):
    with pytest.raises(ConfigError, match=r"file\.toml: this is not TOML"):
        parse(text, "file.toml")


def test_missing_variables_are_named_all_of_them_and_nothing_stands_in():
    found = problems(
        Target,
        """
title = "T"
[endpoints.main]
url = "ws://${PROBE_HOST}:${PROBE_PORT}/"
[services.backend]
url = "${HOME}"
[auth]
source = "env"
token = "${PROBE_TOKEN}"
""",
        {"PROBE_TOKEN": "", "HOME": "http://127.0.0.1/"},
    )
    assert set(found) == {"endpoints.main.url", "services.backend.url", "auth.token"}
    text = TARGET.replace("ws://127.0.0.1:1/ws", "${PROBE_A}${PROBE_B}")
    with pytest.raises(ConfigError) as caught:
        build(Target, parse(text, "f"), "f", {})
    named = [problem.message for problem in caught.value.problems]
    assert named == ["the variable PROBE_A is not set", "the variable PROBE_B is not set"]
    # A table that says as a whole that its key is empty says nothing new.
    text = f'{TARGET}[auth]\nsource = "mint"\nalgorithm = "HS256"\nkey = "${{PROBE_K}}"\n'
    with pytest.raises(ConfigError) as caught:
        build(Target, parse(text, "f"), "f", {})
    assert [problem.path for problem in caught.value.problems] == ["auth.key"]
    assert "PROBE_TOKEN" in found["auth.token"].message
    assert "PROBE_TOKEN=" in found["auth.token"].hint
    assert found["services.backend.url"].found == "${HOME}"


def test_variables_are_put_in_once_and_only_in_texts():
    text = TARGET + '[network]\nhost = "${PROBE_H}"\n'
    target = build(Target, parse(text, "f"), "f", {"PROBE_H": "${PROBE_H}"})
    assert target.network.host == "${PROBE_H}"


@pytest.mark.parametrize("model", [Scenario, Dialect])
def test_a_variable_where_none_is_put_in_is_a_mistake_not_a_text(model):
    found = problems(model, 'title = "${PROBE_TITLE}"')
    assert "target files" in found["title"].message


BROKEN = [
    ('title = 1\nkind = "${PROBE_S}"', "kind"),
    ('[endpoints.a]\nurl = "${PROBE_S}"', "endpoints.a.url"),
    ('[services.a]\nurl = "http://h/"\nwithin = "${PROBE_S}"', "services.a.within"),
    ('[services.a]\nurl = "http://h/"\nhealthy = "${PROBE_S}"', "services.a.healthy"),
    ('[safety]\nclients_max = "${PROBE_S}"', "safety.clients_max"),
    ('[safety]\nrate_max = "x${PROBE_S}x"', "safety.rate_max"),
    ('[restart]\nby = "${PROBE_S}"', "restart.by"),
    ('[network]\nproxy = "${PROBE_S}"', "network.proxy"),
    ('[network]\nproxy = "http://u:${PROBE_S}/x@h:1"', "network.proxy"),
    ('[network]\nconnect_to = "${PROBE_S}"', "network.connect_to"),
    ('[tls]\nverify = "${PROBE_S}"', "tls.verify"),
    ('[auth]\nsource = "${PROBE_S}"', "auth.source"),
    ('[auth]\nsource = "mint"\nkey = "${PROBE_S}"', "auth"),
    ('[auth]\nsource = "mint"\nkey = "x"\nlifetime = "${PROBE_S}"', "auth.lifetime"),
    ('[auth]\nsource = "env"\ntoken = " ${PROBE_S}"', "auth.token"),
]


@pytest.mark.parametrize(("text", "path"), BROKEN)
def test_what_came_from_a_variable_never_shows(text, path):
    whole = TARGET.replace('title = "T"\n', "") + text
    whole = whole if text.startswith("title") else 'title = "T"\n' + whole
    if text.startswith("title"):
        whole = text + TARGET.replace('title = "T"\n', "")
    found = problems(Target, whole, {"PROBE_S": SECRET})
    assert path in found
    for problem in found.values():
        assert SECRET not in str(problem)
        assert SECRET not in repr(problem)
    if not path.startswith(("auth", "network.proxy")):
        assert "PROBE_S" in found[path].found


def test_a_mistake_of_a_whole_table_does_not_quote_a_variable_either():
    text = TARGET + '[services.a]\nurl = "http://h/"\n[restart]\nready = "${PROBE_S}"\n'
    found = problems(Target, text, {"PROBE_S": "hunter2"})
    (problem,) = found.values()
    assert "restart.ready names no service" in problem.message
    assert "hunter2" not in str(problem)


@pytest.mark.parametrize(
    "table",
    [
        f'source = "{SECRET}"',
        f'source = "mint"\nkey = ["{SECRET}"]',
        f'source = "mint"\nkey = "{SECRET}"',
        f'source = "mint"\nkey = "k"\nalgorithm = "{SECRET}"',
        f'source = "fetch"\nurl = "http://u:{SECRET}@h/"',
        f'source = "fetch"\nurl = "http://h/"\nheaders = {{ a = ["{SECRET}"] }}',
        f'source = "fetch"\nurl = "http://h/"\nfields = {{ a = ["{SECRET}"] }}',
        f'source = "fetch"\nurl = "http://h/"\nattempts = "{SECRET}"',
        f'source = "env"\ntoken = {{ a = "{SECRET}" }}',
        f'source = "csv"\nfile = "x"\nidentities = "{SECRET}"',
    ],
)
def test_nothing_under_auth_shows(table):
    for problem in problems(Target, TARGET + "[auth]\n" + table).values():
        assert problem.path.startswith("auth")
        assert SECRET not in str(problem)


@settings(deadline=None, max_examples=60)
@given(st.text("abcXYZ019'\"\\;{}$é ", min_size=8, max_size=20), st.data())
def test_no_value_of_a_variable_shows_wherever_it_stands(value, data):
    # Not a word that our own sentences hold by chance.
    value = "\u00a7" + value
    text, _ = data.draw(st.sampled_from(BROKEN[1:]))
    with pytest.raises(ConfigError) as caught:
        build(Target, parse(TARGET + text, "f"), "f", {"PROBE_S": value})
    assert value not in str(caught.value)


def test_assignments_of_the_command_line():
    data = parse('title = "a"\n[stages.a]\nscript = [{do = "run"}]\n', "f")
    for each in ("title=b c", "stages.a.trials=5", "stages.a.script.0.count=3", "stages.b.x=true"):
        assign(data, each)
    assert data == {
        "title": "b c",
        "stages": {"a": {"script": [{"do": "run", "count": 3}], "trials": 5}, "b": {"x": True}},
    }
    for bad in ("title", "=5", "a..b=1", "title.x=1", "stages.a.script.1.count=1",
                "stages.a.script.x=1"):  # fmt: skip
        with pytest.raises(ConfigError):
            assign(data, bad)


def test_units_are_texts_and_fractions_may_be_numbers():
    text = """
title = "t"
[stages.a]
budget = "1m30s"
[stages.a.populations.b]
shape = { rate = "90/min", lasts = "0.5s" }
[stages.a.expect]
success = { rate = 0.5 }
runs = { rate = "50%" }
latency = [{ quantile = "p99.9", within = "250ms" }]
"""
    stage = build(Scenario, parse(text, "f"), "f").stages["a"]
    assert stage.budget == 90_000_000_000
    assert stage.populations["b"].shape.rate == 1.5
    assert stage.populations["b"].shape.lasts == 500_000_000
    assert stage.expect.success == stage.expect.runs == Limit(rate=0.5)
    assert stage.expect.latency[0].quantile == pytest.approx(0.999, abs=1e-12)
    for quantile in ("p0", "p100", "p-1", "95", "p1_0", "p 5", "pinf", "pnan", "p"):
        broken = text.replace("p99.9", quantile)
        assert list(problems(Scenario, broken)) == ["stages.a.expect.latency.0.quantile"]


STAGE = "[stages.a]\n{}\n[stages.a.populations.b]\nshape = {{ {} }}\n{}\n"


@pytest.mark.parametrize(
    ("stage", "shape", "more", "why"),
    [
        ("", 'rate = "5/s"', "", "`lasts` is missing"),
        ("", 'rate = "5/s", lasts = "1s", clients = 3', "", "a shape is one of"),
        ("", "", "", "a shape is one of"),
        ("", 'rate = "0/s", lasts = "1s"', "", "brings no clients"),
        ("", 'rate_curve = [["0", "5/s"], ["0", "5/s"]]', "", "brings no clients"),
        ("", 'clients_curve = [["0", 0], ["1s", 0]]', "", "brings no clients"),
        ("", 'clients_curve = [["0", -1], ["1s", 3]]', "", "greater than or equal to 0"),
        ("", 'clients_curve = [["1s", 1], ["2s", 3]]', "", "starts at 0"),
        ("", 'rate_curve = [["0", "1/s"]]', "", "at least two points"),
        ("", 'rate_curve = [["0", "1/s"], ["2s", "1/s"], ["1s", "1/s"]]', "", "goes forward"),
        ("", 'rate_curve = [["0", "1/s"], ["2s", "1/s"]], lasts = "1s"', "", "drop `lasts`"),
        ("", "clients = 3, once = false", "", "`lasts` is missing"),
        ("", "clients = 3", "script = []", "an empty script"),
        ('activity = "matrix"', "clients = 3", "", "brings its own clients"),
        ('expect.recovery = { rate = "50%" }', "clients = 3", "", 'anchor = "restart"'),
        ('expect.readiness_gap = { rate = "50%" }', "clients = 3", "", "needs `within`"),
        ('expect.runs = { rate = "50%", within = "1s" }', "clients = 3", "", "not be judged"),
    ],
)
def test_tables_that_do_not_hang_together(stage, shape, more, why):
    found = problems(Scenario, 'title = "t"\n' + STAGE.format(stage, shape, more))
    (problem,) = found.values()
    assert why in problem.message


RUN = 'title = "t"\n[present.default]\n[run]\nstart = "{{run}}"\n{}\n'


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('title = "t"\n[present.other]\n', "present.default is missing"),
        (RUN.format('events = ["a", "a"]'), "twice"),
        (RUN.format('events = ["a", "b"]\nends = "a"'), "which ends the run"),
        (RUN.format('events = ["a", "b"]\nends = "c"'), "none of the events"),
        (RUN.format('events = ["a"]\n[ready]\nevent = "a"'), "can be but one"),
        (RUN.format("events = []"), "at least 1 item"),
    ],
)
def test_dialects_that_do_not_hang_together(text, why):
    (problem,) = problems(Dialect, text).values()
    assert why in problem.message


def test_types_are_numbered_once_each():
    text = RUN.format('events = ["a", "b"]').replace(
        "[present", 'errors = ["e", "a", "e"]\n[present'
    )
    dialect = build(Dialect, parse(text + '[ready]\nevent = "hi"\n', "f"), "f")
    assert dialect.types == ("hi", "a", "b", "e")


def test_nearest_and_problem():
    assert nearest("agnet", ["agent", "plain"]) == "did you mean 'agent'?"
    assert nearest("zzz", ["agent"]) == ""
    assert str(Problem("o", "", "m")) == "o: m"
    assert str(Problem("o", "p", "m", "f", "a", "h")) == "o: p: m; found f; allowed: a; h"
