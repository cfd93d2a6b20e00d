"""What the watch's rows say of a machine: each limit from both sides, each process by itself."""

import os

import numpy as np
import pytest

from probe.check.judge import judge
from probe.check.verdict import Outcome
from probe.engine import machine
from probe.engine.site import Live
from probe.engine.watch import _Told
from probe.history.records import Kind, Memory
from probe.stats.fit import MS, lags_by_time
from tests.histories import LOAD, Story, ns


def story_of(n=60, **more):
    story = Story({"users": {**LOAD, "expect": {"success": {"rate": "80%"}}, **more}}).stage()
    for k in range(n):
        story.client(100 + k * 20, "good")
    return story


def fit_of(story, **meta):
    return judge(story.history(**meta), story.resolved).fitness


def test_a_beat_stands_for_all_the_time_that_it_was_late():
    lags = lags_by_time(np.array([0, 10, 35], np.int64) * MS)
    assert (lags // MS).tolist() == [0, 10, 35, 25, 15, 5]
    assert lags_by_time(np.zeros(0, np.int64)).tolist() == []


def test_one_long_gap_is_a_hundredth_of_the_time_though_one_beat_of_many():
    story = story_of()
    story.fit(n=500)
    story.row(6000, Kind.LAG, b=900 * MS)
    (reason,) = fit_of(story).invalid
    assert "heartbeat lag p99" in reason
    assert not fit_of(story).taints  # it is under a second


def test_a_process_that_stood_still_is_told_however_long_the_run():
    story = story_of().fit(n=60_000)
    story.row(700_000, Kind.STAGE, flag=1)
    story.row(50_000, Kind.LAG, b=999 * MS)
    assert fit_of(story).fit
    story.row(55_000, Kind.LAG, b=1_000 * MS)
    (taint,) = fit_of(story).taints
    assert "stood still for 1 s" in taint


def test_what_was_before_a_stage_is_not_held_against_it():
    story = Story({"users": {**LOAD, "expect": {"success": {"rate": "80%"}}}})
    story.stage(begin=1000)
    for k in range(60):
        story.client(1100 + k * 20, "good")
    for k in range(200):
        story.row(1010 + k * 10, Kind.LAG, b=MS)
    story.row(500, Kind.LAG, b=400 * MS)
    story.row(1001, Kind.LAG, b=900 * MS)  # all but a millisecond of it was before
    story.row(600, Kind.GC, b=90 * MS)
    fitness = fit_of(story)
    assert fitness.fit
    assert fitness.figures["heartbeat_lag_max_ms"] == 1
    assert fitness.figures["gc_pauses"] == 0
    story.row(1300, Kind.GC, b=90 * MS)
    assert not fit_of(story).fit


@pytest.mark.parametrize(("process", "name"), [(0, "the probe"), (2, "worker 1"), (7, "worker 6")])
def test_each_process_is_judged_by_itself_and_the_worst_told(process, name):
    story = story_of()
    for other in (0, 2, 7):
        for k in range(200):
            late = 20 if other == process else 0
            story.row(k * 10, Kind.LAG, op=other, b=late * MS)
        for k in range(12):
            story.row(k * 1000, Kind.CPU, op=other, a=900 if other == process else 50, b=2**20)
        pause = 30 if other == process else 1
        story.row(500, Kind.GC, op=2, flag=other, b=pause * MS)
    lag, cpu, pause = fit_of(story).taints
    assert f"of {name} is over" in lag
    assert cpu.startswith(f"{name} used over 80 %")
    assert f"paused {name} for 30 ms" in pause
    assert fit_of(story).figures["memory_peak_mib"] == 3  # all three together


def test_a_process_without_a_heartbeat_cannot_vouch_for_itself():
    story = story_of().fit()
    for k in range(3):
        story.row(k * 1000, Kind.CPU, op=1, a=990)  # the lab has none, and needs none
        story.row(k * 1000, Kind.CPU, op=3, a=10)
    assert fit_of(story).taints == ("no heartbeat was recorded by worker 2",)


@pytest.mark.parametrize(("used", "fit"), [(968, True), (969, False)])
def test_descriptors(used, fit):
    story = story_of().fit()
    story.row(100, Kind.LIMIT, a=used, b=1000)
    fitness = fit_of(story)
    assert fitness.fit == fit
    assert fitness.figures["descriptors_in_use_max"] == used
    assert fit or f"{used} of 1,000 descriptors" in fitness.taints[0]


@pytest.mark.parametrize(("limit", "fit"), [(66, False), (67, True)])
def test_local_ports_are_counted_by_the_connections_that_were_open(limit, fit):
    story = story_of().fit()  # each lasts two seconds, all 60 at a time
    story.row(100, Kind.LIMIT, flag=1, b=limit)
    fitness = fit_of(story)
    assert fitness.figures["local_ports_in_use_max"] == 60
    assert fitness.fit == fit
    story.resolved.target["sources"] = ["127.0.0.2", "127.0.0.3"]  # each has as many
    assert fit_of(story).fit


@pytest.mark.parametrize(
    ("flag", "whose"), [(Memory.MACHINE, "this machine"), (Memory.GROUP, "this container")]
)
def test_memory(flag, whose):
    story = story_of().fit()
    story.row(100, Kind.MEMORY, flag=flag, a=50, b=2**30)
    assert fit_of(story).fit
    story.row(200, Kind.MEMORY, flag=flag, a=49, b=64 * 2**20)
    (taint,) = fit_of(story).taints
    assert f"only 64 MiB of memory was left to {whose} (4.9 %)" in taint


def test_swap():
    story = story_of().fit()
    story.row(100, Kind.MEMORY, flag=Memory.SWAPPED, a=3, b=0)
    assert fit_of(story).fit
    story.row(200, Kind.MEMORY, flag=Memory.SWAPPED, a=3, b=2**20)
    assert "1.0 MiB of the probe were in swap" in fit_of(story).taints[0]


@pytest.mark.parametrize(
    ("detail", "remedy"),
    [
        ("Too many open files", "ulimit -n"),
        ("Cannot assign requested address", "ip_local_port_range"),
        ("Cannot allocate memory", "no memory left"),
        ("what nobody knows", ""),
    ],
)
def test_a_limit_that_was_hit_brings_its_remedy(detail, remedy):
    story = story_of().fit()
    story.client(500, "local", detail=detail)
    judgement = judge(story.history(), story.resolved)
    assert judgement.verdict is Outcome.INVALID
    (reason,) = judgement.fitness.invalid
    assert f"1 connection failed at this machine's own limits ({detail})" in reason
    assert remedy in reason


def test_a_budget_that_cut_the_plan_off_is_not_the_plan():
    story = story_of(budget="30s").fit()
    story.row(0, Kind.ANCHOR, a=0, b=ns(0))
    story.row(29_000, Kind.SETTLED, flag=1, a=0)
    stages = [{"name": "users", "planned": 100}]
    assert fit_of(story, stages=stages).fit  # it ended for another reason
    story.row(30_000, Kind.SETTLED, flag=1, a=0)
    story.rows = [r for r in story.rows if r[0] != ns(29_000) or r[3] != Kind.SETTLED]
    (reason,) = fit_of(story, stages=stages).invalid
    assert "only 60 of 100 intended clients were launched" in reason
    assert fit_of(story, stages=stages, ended="interrupted").fit


def test_a_rate_that_was_not_the_plans_is_invalid():
    story = Story({"users": {**LOAD, "expect": {"success": {"rate": "80%"}}}}).stage().fit()
    for k in range(200):  # planned within 200 ms, and let go within two seconds
        session = story.client(100 + k, "good")
        story.rows = [
            (r[0] + k * 9 * MS, *r[1:]) if r[1] == session and r[3] != Kind.INTENDED else r
            for r in story.rows
        ]
    (reason,) = fit_of(story).invalid
    assert "so that the rate was not the plan's" in reason


def test_a_calibration_is_quoted_and_judges_a_herds_launch():
    told = {"words": "up to 500 connects/s within 4 ms", "launch_each_ns": 1_000_000}
    story = Story({"users": {**LOAD, "expect": {"success": {"rate": "80%"}}}}).stage().fit()
    for _ in range(50):
        story.client(100, "good")
    fitness = fit_of(story, calibration=told)
    assert fitness.figures["calibration"] == told["words"]
    assert fitness.figures["launch_each_us_in_users"] == 1000
    assert fit_of(story).figures["launch_each_us_in_users"] == 60
    assert "calibration" not in fit_of(story).figures


# What the machine is asked.


def proc(tmp_path, monkeypatch, **files):
    """A /proc and /sys/fs/cgroup of our own."""
    for name, text in files.items():
        path = tmp_path / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    monkeypatch.setattr(machine, "PROC", tmp_path / "proc")
    monkeypatch.setattr(machine, "GROUPS", tmp_path / "cgroup")


def test_this_machine_tells_of_itself():
    spent = machine.process(os.getpid())
    assert spent.cpu_ns > 0
    assert spent.resident > 2**20
    used, allowed = machine.descriptors() or (0, 0)
    assert 0 < used <= allowed
    room = machine.memory()
    assert room is not None
    assert 0 < room.left < room.whole
    assert (machine.local_ports() or 0) > 0
    assert machine.stolen()[1] > 0
    assert machine.process(2**30) == machine.Spent(0, 0)  # nobody


def test_a_group_of_version_2_leaves_what_its_tightest_parent_leaves(tmp_path, monkeypatch):
    proc(tmp_path, monkeypatch, proc__self__cgroup="0::/a/b\n")
    for folder, most, used, idle in (("a/b", "max", "10", 0), ("a", "1000", "700", 300)):
        where = tmp_path / "cgroup" / folder
        where.mkdir(parents=True, exist_ok=True)
        (where / "memory.max").write_text(f"{most}\n")
        (where / "memory.current").write_text(f"{used}\n")
        (where / "memory.stat").write_text(f"anon 1\ninactive_file {idle}\n")
    room = machine.Group().room()
    assert room is not None
    assert (room.whole, room.left, room.permille) == (1000, 600, 600)


@pytest.mark.parametrize(("most", "left"), [("1000", 400), (str(2**63 - 4096), None)])
def test_a_group_of_version_1(tmp_path, monkeypatch, most, left):
    proc(tmp_path, monkeypatch, proc__self__cgroup="9:cpu:/x\n4:memory:/not/seen/here\n0::/\n")
    where = tmp_path / "cgroup" / "memory"
    where.mkdir(parents=True)
    (where / "memory.limit_in_bytes").write_text(most)
    (where / "memory.usage_in_bytes").write_text("700")
    (where / "memory.stat").write_text("total_inactive_file 100\n")
    room = machine.Group().room()
    assert (room.left if room else None) == left


def test_what_is_not_told_is_not_known(tmp_path, monkeypatch):
    proc(tmp_path, monkeypatch)
    assert machine.memory() is None
    assert machine.Group().room() is None
    assert machine.local_ports() is None
    assert machine.descriptors() is None
    assert machine.stolen() == (0, 0)
    assert machine.swapped() == 0
    assert not machine.swaps()


def test_swap_is_read_where_there_is_any(tmp_path, monkeypatch):
    meminfo = "MemTotal: 100 kB\nMemAvailable: 40 kB\nSwapTotal: 9 kB\n"
    proc(tmp_path, monkeypatch, proc__meminfo=meminfo, proc__self__status="VmSwap:\t 12 kB\n")
    assert machine.swaps()
    assert machine.swapped() == 12 * 1024
    assert machine.memory() == machine.Room(102_400, 40_960)


# What is told while a run goes on.


def test_what_is_over_its_limit_is_told_at_once_and_what_recovers_is_not():
    live = Live()
    told = _Told(live.unfit)
    told.begin(0)
    told.lag(30 * MS)
    told.sum_up(1000 * MS)
    assert live.unfit == {"lag": "lag over 10 ms for 2.0% of the time"}
    told.sum_up(3000 * MS)
    assert live.unfit == {}
    for _ in range(4):
        told.cpu(960, 1000 * MS)
    assert live.unfit == {}
    told.cpu(960, 1000 * MS)
    told.steal(50)
    told.pause(30 * MS)
    told.descriptors(990, 1000)
    told.memory(20)
    told.swapped(2**20)
    told.lag(1500 * MS)
    assert live.unfit == {
        "cpu": "CPU over 95 %",
        "steal": "steal 5.0 %",
        "gc": "garbage collection 30 ms",
        "descriptors": "descriptors 990 of 1,000",
        "memory": "memory left 2.0 %",
        "swap": "1 MiB in swap",
        "stall": "stood still for 1.5 s",
    }
    told.begin(0)  # the start is over
    assert not {"lag", "stall"} & {*live.unfit}


def test_what_one_host_of_a_cluster_lost_is_not_lost_in_the_mean():
    story = story_of().fit(n=60)
    for process, permille in ((2, 0), (3, 0), (4, 30)):
        for second in range(6):
            story.row(1000 * second, Kind.STEAL, op=process, a=permille)
    (taint,) = fit_of(story).taints
    assert "3 %" in taint
    assert "worker 3" in taint
    assert fit_of(story).figures["steal_percent_of_machine"] == 3
