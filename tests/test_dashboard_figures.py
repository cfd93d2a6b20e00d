"""Live figures from rows: percentiles as the report counts them, kinds of failure, the light."""

import struct
from typing import Any

import numpy as np
import pytest

from probe.check.latency import sample, settled
from probe.check.view import views
from probe.dashboard.connects import Connects
from probe.dashboard.course import Course
from probe.dashboard.light import Fitness
from probe.dashboard.seen import Troubles
from probe.dashboard.told import LevelNow, Now, StageFacts
from probe.history.records import DTYPE, NOBODY, Kind
from tests.histories import Story, ns

S = 1_000_000_000
LOAD = {"load": {"populations": {"users": {"shape": {"clients": 1}}}}}
RESTARTS = {"boots": {**LOAD["load"], "anchor": "restart", "trials": 2}}
LATE_NS = ns(10_000_000)


class Texts:
    """A journal of a story."""

    name = ""

    def __init__(self, story):
        self.story = story

    def text(self, reference):
        if not reference:
            return ""
        (size,) = struct.unpack_from("<I", self.story.texts, reference)
        return self.story.texts[reference + 4 : reference + 4 + size].decode()


def rows_of(story):
    rows = np.zeros(len(story.rows), DTYPE)
    rows[:] = sorted(story.rows, key=lambda row: row[0])
    return rows


def taken(story, pieces=1):
    connects = Connects()
    for part in np.array_split(rows_of(story), pieces):
        connects.take(part)
    late = np.zeros(1, DTYPE)
    late["t"], late["kind"] = LATE_NS, Kind.DONE
    late["session"] = NOBODY
    connects.take(late)  # time goes by
    return connects


def troubles_of(story):
    troubles = Troubles()
    journal: Any = Texts(story)
    troubles.take(rows_of(story), journal, 5 * S)
    return {each.name: (each.count, each.newest) for each in troubles.most(100)}


def mixed():
    story = Story(LOAD).stage()
    for k in range(400):
        way = {0: "refused", 1: "no_answer", 2: "closed", 3: "closed_late"}.get(k % 40, "good")
        story.client(k * 10, way, lasts=300 if way == "closed_late" else 2000)
    return story


@pytest.mark.parametrize("pieces", [1, 7, 300])
def test_percentiles_are_those_of_the_report_however_the_rows_come(pieces):
    story = mixed()
    connects = taken(story, pieces)
    (view,) = views(story.history(), story.resolved)
    chosen = sample(view, settled(view), "connect")
    assert connects.n == len(chosen.took)
    assert connects.failed == chosen.failed
    assert sorted(np.concatenate(connects._took)) == sorted(chosen.values)
    assert sorted(np.concatenate(connects._censored)) == sorted(chosen.censored)


def test_below_its_n_a_percentile_tells_what_is_missing():
    story = Story(LOAD).stage()
    for k in range(100):
        story.client(k * 10, "good")
    p50, p95, p99 = taken(story).quantiles()
    assert p50.between.count(" ms") == 2
    assert p95.words.endswith(" ms")
    assert (p99.words, p99.between) == ("needs 368", "")


def test_who_has_no_fate_yet_is_told_apart():
    story = Story(LOAD).stage()
    story.client(0, "good")
    story.row(100, Kind.INTENDED, 7)
    story.row(100.1, Kind.DIAL, 7)
    connects = taken(story)
    assert connects.n == 1
    assert connects.under_way(ns(600)) == (1, ns(600) - ns(100))
    story.row(700, Kind.DONE, 7, flag=1)  # it was over without a connection: no connect at all
    assert taken(story).under_way(LATE_NS)[0] == 0


def test_a_boot_is_no_latency():
    story = Story(RESTARTS)
    connects = Connects()
    connects.restarted()
    story.client(0, "refused")
    story.client(10, "good")
    story.client(500, "good")
    story.client(600, "refused")
    connects.take(rows_of(story))
    connects._grow_old(LATE_NS)
    assert (connects.n, connects.failed) == (2, 1)


def test_failures_are_told_by_what_was_on_the_wire():
    story = Story(LOAD).stage()
    story.client(0, "status", status=503, detail="503 Service Unavailable")
    story.client(10, "status", status=401)
    story.client(20, "closed", code=1011)
    story.client(30, "closed_late", code=1011)
    story.client(40, "refused", detail="one\x1b[31m\nline")
    story.client(50, "stopped", done=2)
    story.client(60, "good", done=1, why="no answer within 1 s")
    story.row(70, Kind.ODD, 6, flag=1, b=story.text("not JSON"))
    story.row(71, Kind.FOREIGN, 6, flag=1)
    story.row(72, Kind.FOREIGN, 6, flag=1)
    assert troubles_of(story) == {
        "status 503": (1, "503 Service Unavailable"),
        "status 401": (1, ""),
        "closed 1011 open, not ready": (1, ""),
        "closed without a code open, not ready": (1, ""),
        "refused": (1, "one\\x1b[31m\\nline"),
        "session failed": (1, "no answer within 1 s"),
        "message unreadable": (1, "not JSON"),
        "another's user": (2, ""),
    }


def test_kinds_are_bounded():
    story = Story(LOAD).stage()
    for k in range(300):
        story.client(k, "status", status=200 + k)
    told = troubles_of(story)
    assert len(told) <= 201
    assert told["others"][0] == 100


def lit(lag_ms, unfit=(), *, climbs=False, told_ns=0):
    fitness = Fitness()
    fitness.begin()
    fitness.take(rows_of(Story(LOAD).fit(lag_ms)))
    return fitness.light(tuple(unfit), told_ns, S, climbs=climbs)


def test_the_light_has_a_reason_for_every_colour_but_green():
    assert (lit(1).state, lit(1).reasons) == ("fit", ())
    assert lit(1, ["steal 5 %"]).state == "unfit"
    assert lit(150).state == "invalid"
    assert "lag over 100 ms" in lit(150).reasons[0]
    assert lit(150, climbs=True).state == "unfit"  # the last level of a climb may be too much
    assert lit(1, told_ns=-5 * S).reasons == ("the run has not moved for 5.75 s",)
    assert Fitness().light((), 0, S, climbs=False).state == "off"


def test_a_core_at_its_limit_and_lost_rows_are_seen():
    story = Story(LOAD)
    for k in range(8):
        story.row(k * 1000, Kind.CPU, op=2, a=990)
        story.row(k * 1000, Kind.CPU, op=1, a=990)  # the lab's may be
    fitness = Fitness()
    fitness.begin()
    fitness.take(rows_of(story))
    assert fitness.light((), S, S, climbs=False).reasons == ("CPU over 95 % for 7 s (worker 1)",)
    story = Story(LOAD)
    story.row(0, Kind.GAP, a=12)
    fitness = Fitness()
    fitness.begin()
    fitness.take(rows_of(story))
    assert fitness.light((), S, S, climbs=False).reasons == ("12 rows lost",)


def now(trial=1, trials=1, level=None):
    return Now(0, "s", trial, trials, 0, 0, 0, 0, 0, 0, 0, None, level, (), stopping=False)


def course(stage, *zeros_ms, begin=0):
    found = Course((stage, StageFacts("later", "load", "start", 2, 1, 100 * S, 10 * S, S)))
    story = Story(LOAD)
    story.row(begin, Kind.STAGE, flag=0)
    for k, zero in enumerate(zeros_ms):
        story.row(zero, Kind.ANCHOR, op=k, b=ns(zero))
    found.take(rows_of(story))
    return found


def words(found, at_ms, told=None):
    told = told or now()
    here, run = found.of_stage(told, ns(at_ms)), found.of_run(told, ns(at_ms))
    return here.words if here else "", run.words if run else ""


def test_a_load_lasts_as_its_plan_says_and_its_patience_is_the_most():
    load = StageFacts("s", "load", "start", 1, 1, 300 * S, 30 * S, 5 * S)
    assert words(course(load, 0), 10_000) == ("about 20 s", "about 40 s")
    assert words(course(load, 0), 31_000) == ("at most 4 s", "at most 1 min 45 s")


def test_restarts_last_as_those_before_and_until_then_nobody_knows():
    boots = StageFacts("s", "load", "restart", 10, 1, 60 * S, 9 * S, 5 * S)
    assert words(course(boots, 0), 1_000)[0] == "at most 1 min 4 s"
    assert words(course(boots, 0, 2_000), 3_000)[0] == "about 17 s"
    assert words(course(boots, 0, 9_000), 9_000)[0] == "at most 56 s"  # the budget cuts it off


def test_a_race_goes_by_its_pace_and_a_climb_by_its_budget():
    race = StageFacts("s", "race", "start", 100, 1, 300 * S, 0, 5 * S)
    assert words(course(race), 10_000, now(50, 100))[0] == "at most 10 s"
    climb = StageFacts("s", "capacity", "start", 0, 0, 300 * S, 0, 5 * S)
    level = now(level=LevelNow("50/s", 1, 3, 12 * S))
    found = course(climb, 4_000)
    assert words(found, 10_000, level)[0] == "at most 4 min 55 s"
    assert found.of_level(level, ns(10_000)).words == "about 6 s"
    assert found.of_level(now(), ns(10_000)) is None


def test_a_stage_that_is_over_leaves_the_later_ones():
    load = StageFacts("s", "load", "start", 1, 1, 300 * S, 30 * S, 5 * S)
    found = course(load, 0)
    story = Story(LOAD)
    story.row(9_000, Kind.STAGE, flag=1)
    found.take(rows_of(story))
    assert words(found, 10_000) == ("", "about 20 s")
