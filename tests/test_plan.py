"""The plan: the same for the same seed, everywhere; within the ceilings, or refused."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from probe.errors import ConfigError
from probe.model.dialect import Dialect
from probe.model.plan import CLIENTS_MAX, Peak, ceilings, make_plan, peak
from probe.model.scenario import Scenario
from probe.model.target import Target, is_loopback

S = 1_000_000_000
DIALECT = {
    "title": "d",
    "present": {"default": {}, "other": {}},
    "ready": {"event": "hello"},
    "run": {"start": "{run}", "events": ["a", "b"]},
}
STAGES = {
    "before": {"activity": "preflight"},
    "offers": {"activity": "matrix"},
    "load": {
        "trials": 3,
        "populations": {
            "users": {"shape": {"rate": "40/s", "lasts": "3s"}},
            "ramp": {"shape": {"rate_curve": [["0", "0/s"], ["2s", "50/s"]]}, "endpoints": ["b"]},
            "crowd": {
                "shape": {"clients_curve": [["0", 0], ["1s", 7], ["2s", 0]], "once": False},
            },
        },
    },
}


def scenario(stages=None, **more):
    return Scenario.model_validate({"title": "s", "stages": stages or STAGES, **more})


def load(**population):
    return scenario({"load": {"populations": {"users": population}}})


def target(**more):
    endpoints = {"a": {"url": "ws://127.0.0.1:1/a"}, "b": {"url": "ws://127.0.0.1:1/b"}}
    return Target.model_validate({"title": "t", "endpoints": endpoints, **more})


def dialect(**more):
    return Dialect.model_validate(DIALECT | more)


def plan_of(seed=7, **more):
    return make_plan(scenario(**more), target(), dialect(), seed)


def test_the_same_seed_gives_the_same_bytes_and_another_one_others():
    assert plan_of().to_bytes() == plan_of().to_bytes()
    assert plan_of().digest == plan_of().digest
    assert plan_of().digest != plan_of(8).digest


def test_every_process_makes_the_same_plan():
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); import test_plan; "
        "print(test_plan.plan_of().digest)"
    )
    digests = {
        subprocess.run(
            [sys.executable, "-c", code, str(Path(__file__).parent)],
            env=os.environ | {"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        ).stdout.strip()
        for seed in ("0", "1", "4242")
    }
    assert digests == {plan_of().digest}


def test_this_plan_is_the_one_it_always_was():
    # The intended times of a seed are a promise to whoever wrote the seed down.
    clients = plan_of().stages[2].clients
    users = clients[(clients["trial"] == 0) & (clients["population"] == 3)]
    assert users["offset_ns"][:3].tolist() == [8_142_225, 22_868_802, 90_722_423]


def test_sessions_identities_and_populations_are_numbered_through():
    plan = plan_of()
    rows = np.concatenate([stage.clients for stage in plan.stages])
    assert rows["session"].tolist() == list(range(plan.clients))
    assert rows["identity"].tolist() == list(range(plan.clients))
    assert plan.identities == plan.clients
    assert [(group.stage, group.name) for group in plan.groups] == [
        ("before", "visit"), ("offers", "default"), ("offers", "other"),
        ("load", "users"), ("load", "ramp"), ("load", "crowd"),
    ]  # fmt: skip
    for stage in plan.stages:
        for row in stage.clients:
            assert plan.groups[row["population"]].stage == stage.name
        order = np.lexsort((stage.clients["offset_ns"], stage.clients["trial"]))
        assert (np.diff(order) == 1).all()


def test_trials_are_drawn_anew_and_populations_apart():
    clients = plan_of().stages[2].clients
    users = clients[clients["population"] == 3]
    offsets = [users["offset_ns"][users["trial"] == trial].tolist() for trial in range(3)]
    assert len({tuple(each) for each in offsets}) == 3


def test_endpoints_go_round_robin_or_all_get_their_own():
    plan = plan_of()
    before = plan.stages[0].clients
    assert np.bincount(before["endpoint"]).tolist() == [3, 3]
    clients = plan.stages[2].clients
    assert set(clients["endpoint"][clients["population"] == 4].tolist()) == {1}
    users = np.bincount(clients["endpoint"][clients["population"] == 3])
    assert abs(int(users[0]) - int(users[1])) <= 3


def test_closed_clients_have_their_end_and_open_ones_have_none():
    clients = plan_of().stages[2].clients
    crowd = clients[(clients["population"] == 5) & (clients["trial"] == 0)]
    assert len(crowd) == 7
    assert (crowd["stop_ns"] > crowd["offset_ns"]).sum() >= 6
    assert (clients["stop_ns"][clients["population"] != 5] == -1).all()


@pytest.mark.parametrize(
    ("auth", "identities"),
    [
        ({"source": "none"}, None),
        ({"source": "env", "token": "t" * 20}, 1),
        ({"source": "mint", "key": "k" * 32, "identities": 5}, 5),
        ({"source": "mint", "key": "k" * 32}, None),
    ],
)
def test_identities_are_shared_only_on_purpose(auth, identities):
    plan = make_plan(scenario(), target(auth=auth), dialect(), 7)
    used = {int(n) for stage in plan.stages for n in stage.clients["identity"]}
    assert used == set(range(identities or plan.clients))
    assert plan.identities == (identities or plan.clients)


@pytest.mark.parametrize(
    "shape",
    [
        {"rate": "1000000/s", "lasts": "1h"},
        {"clients": 10**12},
        {"clients_curve": [["0", 1], ["1h", 10**9]]},
        {"rate_curve": [["0", "0/s"], ["1h", "1000000000/s"]]},
    ],
)
def test_a_plan_beyond_memory_is_refused_before_it_is_made(shape):
    with pytest.raises(ConfigError, match=f"more than {CLIENTS_MAX:,} clients"):
        make_plan(load(shape=shape), target(), dialect(), 7)


def test_names_that_lead_nowhere_are_told_all_at_once():
    population = {
        "shape": {"clients": 1},
        "endpoints": ["a", "bb"],
        "present": "othr",
        "script": [
            {"do": "connect", "present": "defalt"},
            {"do": "await", "event": "helo"},
            {"do": "http", "service": "backend", "path": "/x"},
        ],
        "finally": [{"do": "run"}, {"do": "http", "service": "backnd", "path": "/x"}],
    }
    stages = {
        "load": {
            "populations": {"users": population},
            "anchor": "restart",
            "expect": {"latency": [{"within": "1s", "population": "user"}]},
        }
    }
    services = {"backend": {"url": "http://127.0.0.1:1/"}}
    without_runs = Dialect.model_validate({k: v for k, v in DIALECT.items() if k != "run"})
    with pytest.raises(ConfigError) as caught:
        make_plan(scenario(stages), target(services=services), without_runs, 7)
    found = {problem.path: problem for problem in caught.value.problems}
    users = "stages.load.populations.users"
    assert set(found) == {
        f"{users}.endpoints", f"{users}.present", f"{users}.script.0.present",
        f"{users}.script.1.event", f"{users}.finally.0", f"{users}.finally.1.service",
        "stages.load.expect.latency.0.population", "restart.by",
    }  # fmt: skip
    assert found[f"{users}.script.1.event"].hint == "did you mean 'hello'?"
    assert found[f"{users}.script.1.event"].allowed == "hello, error"
    assert found[f"{users}.finally.1.service"].hint == "did you mean 'backend'?"
    assert found["stages.load.expect.latency.0.population"].hint == "did you mean 'users'?"
    assert found[f"{users}.endpoints"].found == "'bb'"


def test_a_file_cannot_name_a_python_function():
    with pytest.raises(ConfigError, match="as the function itself"):
        make_plan(load(shape={"clients": 1}, script="python:os:system"), target(), dialect(), 7)


def top(**shape):
    plan = make_plan(load(shape=shape), target(), dialect(), 7)
    return peak(plan.stages[0], plan.groups)


def test_peaks():
    assert top(clients=9) == Peak(9.0, 9)
    assert top(rate="40/s", lasts="3s", arrivals="even") == Peak(40.0, 40)
    ramp = [["0", "0/s"], ["2s", "50/s"], ["4s", "0/s"]]
    assert top(rate_curve=ramp, arrivals="even").rate == 50.0
    # One client a second, each of which plays once and may stay: ten at a time at most.
    slow = {"clients_curve": [["0", 0], ["10s", 10]]}
    assert top(**slow) == Peak(1.0, 10)
    assert top(**slow, once=False) == Peak(1.0, 10)
    hill = {"clients_curve": [["0", 1], ["1s", 10], ["10s", 1]], "once": False}
    assert top(**hill).clients == 10


def test_peaks_of_many_trials_are_quick():
    # 10,000 trials once took a pass over all rows each.
    stages = {"load": {"trials": 5000, "populations": {"u": {"shape": {"clients": 100}}}}}
    plan = make_plan(scenario(stages), target(), dialect(), 7)
    assert peak(plan.stages[0], plan.groups) == Peak(100.0, 100)


def refused(the_target, **shape):
    plan = make_plan(load(shape=shape or {"clients": 1}), the_target, dialect(), 7)
    try:
        ceilings(plan, the_target)
    except ConfigError as error:
        return {problem.path for problem in error.problems}
    return set()


HERE = {"endpoints": {"a": {"url": "ws://127.0.0.1:1/"}, "b": {"url": "wss://localhost/"}}}
LAB = {
    "kind": "lab",
    "endpoints": {"a": {"url": "ws://{lab}/"}, "b": {"url": "ws://{lab}/b"}},
    "restart": {"by": "lab"},
}
FETCH = {"source": "fetch", "url": "https://auth.example.org/t", "client_id": "i",
         "client_secret": "s"}  # fmt: skip


@pytest.mark.parametrize(
    "more",
    [
        {"endpoints": {"a": {"url": "ws://example.org/"}, "b": {"url": "ws://127.0.0.1/"}}},
        {"endpoints": {"a": {"url": "ws://localhost.example.org/"}, "b": {"url": "ws://[::1]/"}}},
        {"endpoints": {"a": {"url": "ws://127.0.0.1.example.org/"}, "b": {"url": "ws://[::1]/"}}},
        {"endpoints": {"a": {"url": "ws://127.0.0.1@10.0.0.1/"}, "b": {"url": "ws://[::1]/"}}},
        {"endpoints": {"a": {"url": "ws://myhost/"}, "b": {"url": "ws://[::1]/"}}},
        {"endpoints": {"a": {"url": "ws://0.0.0.0/"}, "b": {"url": "ws://[::1]/"}}},
        HERE | {"services": {"s": {"url": "http://example.org/health"}}},
        HERE | {"network": {"connect_to": "example.org:80"}},
        HERE | {"network": {"connect_to": "[2001:db8::1]:80"}},
        HERE | {"network": {"proxy": "http://u:p@proxy.example.org:3128"}},
        HERE | {"auth": FETCH},
        LAB | {"network": {"connect_to": "example.org:80"}},
        LAB | {"network": {"proxy": "http://proxy.example.org:3128"}},
    ],
)
def test_a_target_that_says_nothing_allows_loopback_only(more):
    assert refused(target(**more)) == {"safety.may_load"}
    safety = {"may_load": True, "clients_max": 1, "rate_max": "1/s"}
    assert refused(target(**more, safety=safety)) == set()


@pytest.mark.parametrize(
    "more",
    [
        HERE,
        LAB,
        HERE | {"network": {"connect_to": "[::1]:80", "proxy": "http://127.0.0.2:1"}},
        HERE | {"services": {"s": {"url": "http://LOCALHOST:1/health"}}},
        HERE | {"auth": FETCH | {"url": "http://127.0.0.1:1/t"}},
    ],
)
def test_loopback_needs_no_leave(more):
    assert refused(target(**more)) == set()


def test_ceilings_of_clients_and_rate():
    safety = {"clients_max": 10, "rate_max": "20/s"}
    limited = target(safety=safety)
    assert refused(limited, clients=10) == set()
    assert refused(limited, clients=11) == {"safety.clients_max"}
    assert refused(limited, clients=21) == {"safety.clients_max", "safety.rate_max"}
    assert refused(limited, rate="21/s", lasts="1s") == {"safety.clients_max", "safety.rate_max"}
    assert refused(limited, clients_curve=[["0", 0], ["100s", 11]]) == {"safety.clients_max"}
    assert refused(limited, rate="10/s", lasts="100s", arrivals="even") == set()
    assert refused(target(safety={"clients_max": 10}), clients=11) == {"safety.clients_max"}


@pytest.mark.parametrize(
    "safety",
    [
        {"may_load": True},
        {"may_load": True, "clients_max": 1},
        {"may_load": True, "rate_max": "1/s"},
        {"clients_max": 0},
        {"rate_max": 5},
    ],
)
def test_ceilings_are_whole_or_refused(safety):
    with pytest.raises(ValueError, match="safety"):
        target(safety=safety)


@pytest.mark.parametrize(
    "more",
    [
        {"endpoints": {"a": {"url": "ws://[::1/"}}},
        {"endpoints": {"a": {"url": "ws:///path"}}},
        {"endpoints": {"a": {"url": "ws://h:99999/"}}},
        {"endpoints": {"a": {"url": "http://h/"}}},
        {"endpoints": {}},
        {"network": {"connect_to": "example.org"}},
        {"network": {"connect_to": "::1:80"}},
        {"network": {"connect_to": "h:0"}},
        {"network": {"proxy": "https://h:1"}},
        {"network": {"proxy": "http://h"}},
        LAB | {"endpoints": {"a": {"url": "ws://example.org/{lab}"}}},
        LAB | {"endpoints": {"a": {"url": "ws://{lab}.example.org/"}}},
        LAB | {"services": {"s": {"url": "http://127.0.0.1/"}}},
        LAB | {"restart": {"by": "none"}},
        HERE | {"restart": {"by": "lab"}},
        HERE | {"endpoints": {"a": {"url": "ws://{lab}/"}}},
        HERE | {"restart": {"by": "command"}},
        HERE | {"restart": {"by": "command", "command": ["x"]}},
        HERE | {"restart": {"ready": "nobody"}},
    ],
)
def test_targets_that_cannot_be(more):
    with pytest.raises(ValueError, match="Target"):
        target(**more)


def test_what_is_loopback():
    for host in ("localhost", "127.0.0.1", "127.8.9.1", "::1"):
        assert is_loopback(host)
    for host in ("", "0.0.0.0", "10.0.0.1", "localhost.example.org", "ip6-localhost", "::"):
        assert not is_loopback(host)


def test_clients_share_users_only_where_a_population_says_so():
    stages = {
        "load": {
            "populations": {
                "speakers": {"shape": {"clients": 3}, "users": 3},
                "listeners": {"shape": {"clients": 7}, "users": 3},
                "alone": {"shape": {"clients": 2}},
            }
        }
    }
    clients = plan_of(stages=stages).stages[0].clients
    by = [sorted(clients["identity"][clients["population"] == k].tolist()) for k in range(3)]
    assert by[0] == [0, 1, 2]
    assert by[1] == [0, 0, 0, 1, 1, 2, 2]
    assert not set(by[2]) & {0, 1, 2}
    assert len(set(by[2])) == 2


def test_tokens_that_would_expire_before_the_last_client_comes_are_refused():
    auth = {"source": "mint", "algorithm": "HS256", "key": "k" * 32, "lifetime": "10s"}
    long = load(shape={"rate": "1/s", "lasts": "11s"})
    with pytest.raises(ConfigError, match=r"auth\.lifetime: tokens live for 10 s, .* for 11 s"):
        make_plan(long, target(auth=auth), dialect(), 1)
    auth["lifetime"] = "12s"
    assert make_plan(long, target(auth=auth), dialect(), 1).clients
