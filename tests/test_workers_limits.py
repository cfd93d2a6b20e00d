"""What a machine can hold: refused before the start, with the command that raises it."""

import resource

import pytest

from probe.engine import machine
from probe.engine.limits import (
    CLIENT_BYTES,
    CLIENT_TLS_BYTES,
    DESCRIPTORS_MORE,
    fit,
    fit_part,
    foretold,
    own_addresses,
)
from probe.engine.routes import make_routes
from probe.engine.run import Spread
from probe.errors import ConfigError
from probe.model.dialect import Dialect
from probe.model.plan import make_plan
from probe.model.scenario import Scenario
from probe.model.target import Target

DIALECT = Dialect.model_validate(
    {"title": "d", "present": {"default": {}}, "ready": {"event": "hello"}}
)


def target(*ports, sources=(), scheme="ws"):
    urls = [f"{scheme}://127.0.0.1:{port}/" for port in ports]
    endpoints = {f"e{k}": {"url": url} for k, url in enumerate(urls)}
    network = {"sources": list(sources)}
    return Target.model_validate({"title": "t", "endpoints": endpoints, "network": network})


def planned(clients, count=1, *, ports=(1,), sources=(), scheme="ws", cluster=None):
    stage = {"populations": {"users": {"shape": {"clients": clients}}}}
    scenario = Scenario.model_validate({"title": "s", "stages": {"load": stage}})
    there = target(*ports, sources=sources, scheme=scheme)
    plan = make_plan(scenario, there, DIALECT, 1)
    spread = None
    if count > 1 or cluster is not None:
        spread = Spread(scenario, count, frozenset({"load"}), None, cluster)
    return plan, make_routes(there).values(), spread


def check(*arguments, **options):
    fit(*planned(*arguments, **options))


def refused(*arguments, **options):
    with pytest.raises(ConfigError) as caught:
        check(*arguments, **options)
    return str(caught.value)


@pytest.fixture
def machine_of(monkeypatch):
    """A machine with these limits; what was asked of setrlimit is returned."""

    def made(*, soft=10_000, hard=10_000, ports=5_000, left=1 << 40):
        asked = []
        monkeypatch.setattr(resource, "getrlimit", lambda _: (soft, hard))
        monkeypatch.setattr(resource, "setrlimit", lambda _, pair: asked.append(pair))
        monkeypatch.setattr(machine, "local_ports", lambda: ports)
        room = machine.Room(1 << 41, left)
        monkeypatch.setattr(machine, "memory", lambda: room)
        monkeypatch.setattr(machine.Group, "room", lambda _: None)
        return asked

    return made


def test_a_plan_that_fits_asks_for_nothing(machine_of):
    asked = machine_of()
    check(5_000)
    assert asked == []


def test_the_soft_limit_of_descriptors_is_raised_as_far_as_is_needed(machine_of):
    asked = machine_of(soft=1024, hard=20_000)
    check(3_000)
    assert asked == [(3_000 + DESCRIPTORS_MORE, 20_000)]


def test_beyond_the_hard_limit_it_is_refused_with_the_commands(machine_of):
    asked = machine_of(soft=1024, hard=2_000)
    words = refused(3_000)
    assert asked == []
    assert f"ulimit -Hn {3_000 + DESCRIPTORS_MORE}" in words
    assert "--workers 2" in words
    check(3_000, 2)  # and that helps
    assert asked == [(1_500 + DESCRIPTORS_MORE, 2_000)]


def test_no_limit_is_no_limit(machine_of):
    machine_of(soft=resource.RLIM_INFINITY, hard=resource.RLIM_INFINITY)
    check(3_000)


def test_ports_are_counted_for_each_address_that_is_dialled_and_dialled_from(machine_of):
    machine_of()
    words = refused(6_000)
    assert "6,000 connections to 127.0.0.1:1 at one time" in words
    assert "5,000 ports" in words
    assert "ip_local_port_range" in words
    assert "network.sources" in words
    refused(6_000, 4)  # more processes have no more ports
    check(6_000, sources=("127.0.0.2", "127.0.0.3"))
    check(6_000, ports=(1, 2))  # two servers: 3,000 each
    check(5_000)


def test_where_the_range_cannot_be_wide_enough_only_addresses_help(machine_of):
    machine_of(soft=400_000, hard=400_000)
    words = refused(100_000)
    assert "ip_local_port_range" not in words
    assert "name 20 addresses" in words


def test_memory_is_that_of_all_clients_together(machine_of):
    machine_of(left=4_000 * CLIENT_BYTES)
    check(4_000)
    assert "MiB" in refused(4_001, 4)
    most = 4_000 * CLIENT_BYTES // CLIENT_TLS_BYTES
    check(most, scheme="wss")
    assert "MiB" in refused(most + 1, scheme="wss")


def test_all_that_is_missing_is_told_at_once(machine_of):
    machine_of(soft=100, hard=100, ports=100, left=100)
    assert len(refused(1_000).splitlines()) == 3


def test_an_address_that_is_not_ours_is_refused_with_the_command():
    own_addresses(("127.0.0.1", "127.3.2.1"))
    with pytest.raises(ConfigError, match=r"ip addr add 192\.0\.2\.1 dev"):
        own_addresses(("127.0.0.1", "192.0.2.1"))


def test_beforehand_it_is_told_and_nothing_is_done(machine_of):
    asked = machine_of(soft=1024, hard=4_000, ports=5_000)
    assert foretold(*planned(500)) == []
    assert foretold(*planned(3_000)) == ["the soft limit of descriptors would be raised to 3,128"]
    first, second = foretold(*planned(6_000))
    assert first.startswith("would be refused: this machine: a process would need")
    assert "5,000 ports" in second
    assert asked == []


def test_what_a_cluster_plays_is_held_against_the_machines_that_play_it(machine_of):
    asked = machine_of(soft=1024, hard=4_000, ports=5_000)
    check(6_000, 3, cluster="head:6379")  # here is only the driver
    assert asked == []
    plan, routes, _ = planned(6_000)
    fit_part(plan, routes, (), (1,), 3)
    assert asked == [(2_000 + DESCRIPTORS_MORE, 4_000)]
    with pytest.raises(ConfigError, match="6,000 connections"):
        fit_part(plan, routes, (), (0, 1, 2), 3)  # all of them on one machine
    fit_part(plan, routes, {"load": "why"}, (0, 1, 2), 3)  # a stage that the driver plays
