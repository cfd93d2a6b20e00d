"""What is refused before the first socket: ceilings, hosts, names, variables, options."""

import socket

import pytest

from probe.cli import command_line
from probe.errors import ConfigError
from tests.servers import Server, echo

LOAD = """
[stages.load]
expect.success = { rate = "50%" }
[stages.load.populations.clients]
shape = { rate = "50/s", lasts = "2s" }
"""


@pytest.fixture
def no_sockets(monkeypatch):
    """Any socket, name look-up or process that this process would make is an error."""

    def refuse(*_, **__):
        raise AssertionError("a socket, a look-up or a process")

    for name in ("socket", "create_connection", "getaddrinfo", "gethostbyname"):
        monkeypatch.setattr(socket, name, refuse)
    monkeypatch.setattr("subprocess.Popen", refuse)
    monkeypatch.setattr("uvloop.new_event_loop", refuse)
    monkeypatch.setattr("uvloop.run", refuse)


@pytest.fixture
def inside(probe, monkeypatch, no_sockets):
    """`probe …` in this process, in the folder of the test, without any socket."""
    monkeypatch.chdir(probe.cwd)
    for name in ("CI", "GITHUB_STEP_SUMMARY"):
        monkeypatch.delenv(name, raising=False)

    def call(*words):
        with pytest.raises(ConfigError) as caught:
            command_line(words)([str(word) for word in words], standalone_mode=False)
        return str(caught.value)

    return call


def remote(probe, more=""):
    body = f"""
title = "Remote"
dialect = "plain"
[endpoints.main]
url = "wss://service.invalid/ws"
[services.backend]
url = "https://service.invalid/health"
{more}
"""
    probe.write("scenarios/targets/remote.toml", body)
    return "remote"


@pytest.mark.parametrize(
    "more",
    [
        "",
        "[safety]\nclients_max = 5\nrate_max = '5/s'",
        "[network]\nconnect_to = '127.0.0.1:1'",
    ],
)
def test_a_remote_host_without_permission_is_not_even_looked_up(probe, inside, more):
    probe.scenario(LOAD)
    told = inside("run", "small", "--target", remote(probe, more))
    assert "may_load" in told
    assert "service.invalid" in told
    assert not probe.results.exists()


def test_a_remote_proxy_or_token_endpoint_counts_as_remote(probe, inside):
    probe.scenario(LOAD)
    for more in (
        '[network]\nproxy = "http://proxy.invalid:3128"',
        '[auth]\nsource="fetch"\nurl="https://tokens.invalid/t"\nclient_id="a"\nclient_secret="bcd"',
    ):
        target = probe.target("ws://127.0.0.1:9/", more=more)
        assert "may_load" in inside("run", "small", "-t", target)


def test_a_remote_connect_to_counts_as_remote(probe, inside):
    probe.scenario(LOAD)
    target = probe.target("ws://127.0.0.1:9/", more='[network]\nconnect_to = "far.invalid:80"')
    assert "far.invalid" in inside("run", "small", "-t", target)


@pytest.mark.parametrize(
    ("shape", "ceiling", "named"),
    [
        ('{ rate = "50/s", lasts = "2s" }', 'rate_max = "49/s"', "rate_max"),
        ("{ clients = 40 }", 'rate_max = "39/s"', "rate_max"),
        ("{ clients = 40 }", "clients_max = 39", "clients_max"),
        ('{ rate_curve = [["0s", "0/s"], ["1s", "90/s"], ["2s", "0/s"]] }',
         'rate_max = "80/s"', "rate_max"),
        ('{ clients_curve = [["0s", 1], ["1s", 9], ["2s", 1]], once = false }',
         "clients_max = 8", "clients_max"),
    ],
)  # fmt: skip
def test_a_plan_over_a_ceiling_is_refused(probe, inside, shape, ceiling, named):
    population = LOAD.replace('{ rate = "50/s", lasts = "2s" }', shape)
    probe.scenario(population)
    allowed = 'may_load = true\nclients_max = 1000\nrate_max = "1000/s"'
    name = ceiling.partition(" ")[0]
    kept = "\n".join(line for line in allowed.splitlines() if not line.startswith(name))
    target = remote(probe, f"[safety]\n{kept}\n{ceiling}")
    told = inside("run", "small", "-t", target)
    assert f"safety.{named}" in told
    assert "'load'" in told
    assert not probe.results.exists()
    told = inside("run", "small", "-t", target, "--dry-run")
    assert f"safety.{named}" in told


def test_no_set_raises_a_ceiling(probe, inside):
    probe.scenario(LOAD)
    target = remote(probe, '[safety]\nmay_load = true\nclients_max = 10\nrate_max = "10/s"')
    for words in (
        ("--set", "safety.clients_max=1000"),
        ("--set", "target=lab"),
        ("--set", "stages.load.safety.clients_max=1000"),
    ):
        told = inside("run", "small", "-t", target, *words)
        assert "no such key" in told or "safety." in told


def test_an_over_full_plan_never_reaches_the_server(probe):
    probe.scenario(LOAD)
    with Server(echo) as server:
        more = '[safety]\nrate_max = "5/s"'
        target = probe.target(f"ws://127.0.0.1:{server.port}/", more=more)
        done = probe.run("small", target=target)
        assert done.code == 2, done.told
        assert "rate_max" in done.err
        dry = probe.run("small", "--dry-run", target=probe.target(f"ws://127.0.0.1:{server.port}/"))
        assert dry.code == 0, dry.told
        assert server.accepted == 0
    assert probe.runs() == []


def test_dry_run_shows_the_plan_and_opens_nothing(probe, monkeypatch, no_sockets, capsys):
    monkeypatch.chdir(probe.cwd)
    monkeypatch.delenv("CI", raising=False)
    words = ["run", "cold_start", "--dry-run", "--seed", "3"]
    command_line(words)(words, standalone_mode=False)
    told = capsys.readouterr().out
    assert "at most" in told
    assert "seed     3" in told
    assert "a trial ends early" in told
    assert not probe.results.exists()


# --- names, variables, options: exit 2, and the nearest name ---


def refused(probe, *words, env=None):
    done = probe.inside(*words, env=env)
    assert done.code == 2, done.told
    assert done.out == ""
    assert "Traceback" not in done.err
    assert probe.runs() == []
    return done.err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("run", "smok"), ("scenario", "smoke")),
        pytest.param(
            ("run", "smoke", "-t", "stagin"), ("target", "staging"), marks=pytest.mark.long
        ),
        (("run", "smoke", "--set", "stages.users.patient=1s"), ("patience",)),
        pytest.param(
            ("run", "smoke", "--set", "stages.user.patience=1s"), ("users",), marks=pytest.mark.long
        ),
        (("run", "smoke", "--set", "stages.users.populations.user.retry=true"), ("users",)),
        pytest.param(
            ("run", "smoke", "--set", "stages.users.patience=soon"),
            ("patience", "soon"),
            marks=pytest.mark.long,
        ),
        pytest.param(("run", "smoke", "--set", "nonsense"), ("--set",), marks=pytest.mark.long),
        (("run", "smoke", "--defect", "cold_start_1011", "-t", "plain"), ("--defect",)),
        (("run", "smoke", "--restarts", "3"), ("--restarts",)),
        pytest.param(
            ("run", "cold_start", "--restarts", "0"), ("--restarts",), marks=pytest.mark.long
        ),
        (("run", "cold_start", "-t", "plain"), ("restart",)),
        pytest.param(
            ("run", "smoke", "--no-such-option"), ("--no-such-option",), marks=pytest.mark.long
        ),
        (("run",), ("scenario",)),
        pytest.param(("runn",), ("runn",), marks=pytest.mark.long),
        (("check", "no-such-run"), ("no-such-run",)),
        pytest.param(("report", "no-such-run"), ("no-such-run",), marks=pytest.mark.long),
    ],
)
def test_a_mistake_is_named_with_what_would_be_right(probe, words, said):
    probe.target("ws://127.0.0.1:9/", name="plain")
    told = refused(probe, *words)
    for part in said:
        assert part in told, told


def test_an_unknown_defect_is_refused_with_the_nearest_name(probe):
    done = probe.run("smoke", "--defect", "cold_start_101", target="lab")
    assert done.code == 2, done.told
    assert "cold_start_1011" in done.err + done.out


def test_where_ci_is_set_the_target_is_named(probe):
    assert "--target" in refused(probe, "run", "smoke", env={"CI": "true"})
    assert "--target" in refused(probe, "run", "smoke", "--dry-run", env={"CI": "1"})
    done = probe.inside("run", "smoke", "--dry-run", "-t", "lab", env={"CI": "true"})
    assert done.code == 0, done.told


VARIABLES = {
    "PROBE_WS_URL": "ws://127.0.0.1:9/ws",
    "PROBE_HEALTH_URL": "http://127.0.0.1:9/health",
    "PROBE_JWT_KEY": "a-key-of-the-tests-that-is-long-enough",
}


@pytest.mark.parametrize(
    "missing",
    [
        "PROBE_JWT_KEY",
        *(pytest.param(each, marks=pytest.mark.long) for each in list(VARIABLES)[:2]),
    ],
)
def test_a_missing_variable_is_named_and_nothing_stands_in_for_it(probe, missing):
    env = {name: value for name, value in VARIABLES.items() if name != missing}
    told = refused(probe, "run", "smoke", "-t", "local", env=env)
    assert missing in told
    for name in env:
        assert f"{name} is not set" not in told
    assert VARIABLES["PROBE_JWT_KEY"] not in told
    told = refused(probe, "run", "smoke", "-t", "local", env={**VARIABLES, missing: ""})
    assert missing in told


def test_all_missing_variables_are_named_at_once(probe):
    told = refused(probe, "run", "smoke", "-t", "local")
    assert all(name in told for name in VARIABLES)


def test_dot_env_is_read_and_the_environment_wins_over_it(probe):
    lines = [f'export {name}="{value}"' for name, value in VARIABLES.items()]
    probe.write(".env", "# a comment\n\n" + "\n".join(lines) + "\n")
    done = probe.inside("run", "smoke", "-t", "local", "--dry-run")
    assert done.code == 0, done.told
    assert "ws://127.0.0.1:9/ws" in done.out
    env = {"PROBE_WS_URL": "ws://127.0.0.1:10/other"}
    done = probe.inside("run", "smoke", "-t", "local", "--dry-run", env=env)
    assert "ws://127.0.0.1:10/other" in done.out
    assert ":9/ws" not in done.out
    # An empty one in the environment wins as well, and is missing.
    assert "PROBE_WS_URL" in refused(probe, "run", "smoke", "-t", "local", env={"PROBE_WS_URL": ""})


def test_a_broken_dot_env_is_told_without_its_line(probe):
    probe.write(".env", "PROBE_A=1\nthis-is-a-secret-without-a-name\n")
    told = refused(probe, "run", "smoke", "-t", "lab")
    assert "line 2" in told
    assert "secret" not in told


def test_a_key_that_is_too_short_is_told_without_it(probe):
    env = {**VARIABLES, "PROBE_JWT_KEY": "short-key-Zq"}
    told = refused(probe, "run", "smoke", "-t", "local", env=env)
    assert "32 bytes" in told
    assert "short-key-Zq" not in told


@pytest.mark.parametrize(
    "more",
    [
        '[tls]\nca_file = "nowhere.pem"',
        pytest.param('[tls]\nclient_key = "nowhere.pem"', marks=pytest.mark.long),
        pytest.param('[network]\nproxy = "socks5://127.0.0.1:9"', marks=pytest.mark.long),
        '[auth]\nsource = "csv"\nfile = "nowhere.csv"\nuser = "user"\ntoken = "token"',
    ],
)
def test_files_and_addresses_that_cannot_be_used_are_usage_errors(probe, more):
    probe.scenario(LOAD)
    for scheme in ("ws", "wss"):
        target = probe.target(f"{scheme}://127.0.0.1:9/", more=more)
        done = probe.inside("run", "small", "-t", target, "--out", probe.results)
        assert done.code == 2, done.told
        assert "Traceback" not in done.err


def test_a_token_that_the_dialect_cannot_show_is_a_usage_error_not_a_failure(probe):
    probe.scenario(LOAD)
    probe.write(
        "scenarios/dialects/sub.toml",
        """
title = "Sub"
[present.default]
subprotocols = ["bearer.{token}"]
""",
    )
    with Server(echo) as server:
        more = '[auth]\nsource = "env"\ntoken = "${PROBE_TOKEN}"'
        target = probe.target(f"ws://127.0.0.1:{server.port}/", dialect="sub", more=more)
        done = probe.run("small", target=target, env={"PROBE_TOKEN": "opaque/token==of-a-user"})
        assert server.accepted == 0
    assert done.code == 2, done.told
    assert "opaque" not in done.out + done.err
    assert "subprotocol" in done.err
