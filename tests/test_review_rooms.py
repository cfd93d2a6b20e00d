"""What a hostile reading of comparisons, the store, exports and starts has found."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import threading
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from probe.check.comparing.comparison import compare
from probe.check.comparing.figures import figures_of
from probe.check.comparing.taken import take
from probe.check.judge import judge
from probe.check.verdict import Acceptance, Finding, Outcome
from probe.check.view import views
from probe.cli import blocks, outputs, prune
from probe.cli.baseline import Baseline, _check, baselines, compared, keep_baseline
from probe.cli.comparing import FailOn, exit_code
from probe.cli.judging import judge_run
from probe.dashboard.seen import Troubles
from probe.errors import ConfigError
from probe.history.folder import RESOLVED
from probe.redact import Redactor
from probe.report.comparison import cells, comparison_document
from probe.report.past import courses, past_of
from probe.start import har
from probe.start.asking import Nobody
from probe.start.credentials import Told as Credentials
from probe.start.credentials import refuse_in_url, showing_of, source_of
from probe.stats.compare import sides_difference
from tests.histories import EVENTS, Story
from tests.stored_runs import CLIENTS, EVERY_MS, STAGE, store, story
from tests.test_export_push import receiving
from tests.test_report_judgements import JUDGEMENTS


def taken(made, number):
    history = made.history(run_id=f"run-{number}", started_at=f"2026-11-01T00:{number:02}:00+00:00")
    return take(history, made.resolved, judge(history, made.resolved))


def hung(seed, stopped):
    """A load whose first clients connect, hear nothing more, and are stopped in the end."""
    rng = np.random.default_rng(seed)
    made = Story(STAGE).stage(0, 0, CLIENTS * EVERY_MS + 1000)
    made.fit(0.1)
    for k in range(CLIENTS):
        heard, done = ((), 2) if k < stopped else ((EVENTS,), 0)
        took = 20 + float(rng.normal(0, 1))
        made.client(k * EVERY_MS, "good", took=took, lasts=200, runs=heard, done=done)
    return made


NOBODY = Nobody(Console())


def knee(low, high):
    stage: Any = SimpleNamespace(
        skipped=False, name="s", stage=SimpleNamespace(activity="capacity")
    )
    summary = {"capacity": {"s": {"low_per_s": low, "high_per_s": high}}}
    return figures_of(stage, summary)[0]


def test_clients_that_hung_until_they_were_stopped_are_no_success():
    made = hung(1, 60)
    (view,) = views(made.history(), made.resolved)
    found = {each.name: each for each in figures_of(view, {})}
    assert found["success"].side.value == 20 / CLIENTS
    assert compare([taken(hung(1, 0), 1)], [taken(hung(2, 60), 2)]).said == "worse"


def test_a_knee_that_fell_below_every_level_is_one_and_at_least_is_no_knee():
    before, below, above = knee(500, 600), knee(None, 50), knee(500, None)
    assert (before.each, below.each, above.each) == (True, False, False)
    assert (below.end, above.end) == ("at most", "at least")
    gone = sides_difference(before.side, below.side)
    assert gone.at(0.05)[1] < np.log(0.5)
    assert gone.p_beyond(np.log(1.5))[1] < 0.05
    assert sides_difference(before.side, above.side).at(0.05)[1] == np.inf


def test_at_most_is_said_where_a_knee_is_shown():
    made = [replace(taken(story(k), k), figures={"s.knee": knee(*ends)})
            for k, ends in enumerate([(500, 600), (None, 50)])]  # fmt: skip
    for each in made:
        each.stages["s"] = {"activity": "capacity"}
    told = comparison_document(compare(made[:1], made[1:]))
    (row,) = cells(told)
    assert row[2].startswith("at most 50")
    assert not row[1].startswith("at ")
    assert told["said"] == "worse"


def test_same_is_not_said_of_a_stage_that_was_not_compared():
    before, now = ([taken(story(k), k) for k in range(at, at + 8)] for at in (0, 20))
    for each in (*before, *now):
        for name in [name for name in each.figures if name != "load.success"]:
            del each.figures[name]
    assert compare(before, now).said == "same"
    now[-1].stages["more"] = {"activity": "load"}
    found = compare(before, now)
    assert (found.said, len(found.refused)) == ("undecided", 1)


def test_undecided_is_not_hidden_by_a_better_figure():
    before = [taken(story(k), k) for k in range(8)]
    now = [taken(story(k, slower=0.3), k) for k in range(20, 28)]
    for each in now:
        each.figures.pop("load.delivered")
    told = comparison_document(compare(before, now))
    assert told["said"] == "better"
    assert exit_code(told, FailOn.WORSE) == 0
    assert exit_code(told, FailOn.UNDECIDED) == 3
    assert _check(told, FailOn.UNDECIDED).verdict is Outcome.INCONCLUSIVE


def test_a_gate_says_no_finer_change_than_it_could_have_seen():
    told = comparison_document(compare([taken(story(1), 1)], [taken(story(2), 2)]))
    smallest = _check(told, FailOn.WORSE).smallest
    assert "of a time or a rate: " in smallest
    # One run of each, and nothing known of others: the margin alone is 50 %.
    shown = smallest.partition("rate: ")[2].partition(";")[0]
    assert shown == "no bound" or float(shown.removesuffix(" %")) > 50


def test_a_gate_that_stood_open_is_told_in_the_run_and_judges_nothing(tmp_path):
    judgement = JUDGEMENTS["pass"]
    keep_baseline(tmp_path, Baseline((), (), FailOn.WORSE))
    found = compared(judgement, tmp_path)
    assert found.verdict is judgement.verdict
    assert (found.checks[-1].id, found.checks[-1].verdict) == ("run.compared", Outcome.SKIPPED)
    assert not found.checks[-1].required
    assert baselines([tmp_path]) == set()


def test_no_worse_than_something_is_no_pass_where_nothing_was_judged(tmp_path):
    made = [store(story(k), tmp_path / f"2026110{k}-120000-hand-{k}") for k in (1, 2)]
    keep_baseline(made[1], Baseline((made[0],), (), FailOn.WORSE))
    judgement = judge_run(made[1])
    assert judgement.checks[-1].verdict is Outcome.PASS
    bare = replace(
        judgement, checks=(), verdict=Outcome.INCONCLUSIVE, reasons=("nothing was judged",)
    )
    again = compared(bare, made[1])
    assert (again.verdict, again.reasons) == (Outcome.INCONCLUSIVE, ("nothing was judged",))


def test_a_run_that_only_told_the_spread_may_go_while_another_is_played(tmp_path):
    made = [store(story(k), tmp_path / f"2026110{k}-120000-hand-{k}") for k in range(1, 7)]
    keep_baseline(made[-1], Baseline((made[-2],), tuple(made[:-1]), FailOn.WORSE))
    shutil.rmtree(made[0])
    told = judge_run(made[-1]).summary["comparison"]
    assert told["known"] == [folder.name for folder in made[1:-1]]
    assert told["said"] != "worse"


def test_one_accepted_case_does_not_accept_the_others_and_runs_are_counted():
    lived = Acceptance("ann", "2030-01-01", "known")
    case = Finding("delivery.lost", "critical", "witness", 1, "lost", "", check="load.x")
    before, now = taken(story(1), 1), taken(story(2), 2)
    now = replace(now, findings=(case, replace(case, accepted=lived)))
    (found,) = [each for each in compare([before], [now]).findings if each.code == case.code]
    assert (found.accepted, found.now) == (False, 1)
    assert compare([before], [now]).said == "worse"


def test_history_tells_no_share_of_what_is_known_alone_and_no_end_as_a_knee():
    part = {"delivered": 1, "lost": 0, "unknown": 99}
    summary = {
        "delivery": {"s": {"endpoints": {"main": part}}},
        "capacity": {"s": {"low_per_s": 500.0, "high_per_s": None}},
    }
    told = {"run_id": "r", "fitness": {"fit": True}, "verdict": "PASS"}
    main = {each.name: each.value for each in past_of(told, summary).main}
    assert main["delivered"] == 0.01
    assert "knee" not in main
    assert main["knee at least"] == 500
    unfit = past_of(told | {"fitness": {"fit": False}}, summary)
    assert unfit.main
    assert courses([unfit]) == []


@pytest.fixture
def judged(tmp_path):
    def make(name, day, root=tmp_path / "results"):
        folder = root / name
        (folder / "history").mkdir(parents=True)
        (folder / RESOLVED).write_text("")
        told = {"run_id": name, "scenario": "s", "target": "t", "verdict": "FAIL"}
        told["started"] = f"2026-10-{day:02}T00:00:00+00:00"
        (folder / "verdict.json").write_text(json.dumps(told))
        return folder

    return make


def test_prune_reaches_nothing_through_a_link(judged, tmp_path):
    inside = [judged(f"2026100{day}-000000-s-{day}", day) for day in (5, 6, 7)]
    other = judged("20261001-000000-s-1", 1, tmp_path / "elsewhere")
    results = inside[0].parent
    (results / "kept").symlink_to(other)
    (results / "again").symlink_to(inside[0])
    found = prune.runs_in(results, datetime.now(UTC))
    assert [each.folder for each in found] == inside[::-1]
    prune.command(keep=1, yes=True, out=results)
    assert other.is_dir()
    assert [each.exists() for each in inside] == [False, False, True]


def test_prune_minds_files_that_vanish_and_ages_beyond_all_time(judged, monkeypatch):
    folder = judged("20261005-000000-s-5", 5)
    (folder / "history" / "rows.bin").write_bytes(b"x")
    real = Path.lstat

    def vanished(path):
        if path.name == "rows.bin":
            raise FileNotFoundError(path)
        return real(path)

    monkeypatch.setattr(Path, "lstat", vanished)
    assert prune.runs_in(folder.parent, datetime.now(UTC))
    with pytest.raises(ConfigError, match="longer than any time"):
        prune._read("--older-than", "999999999999d", prune._age)


@pytest.mark.parametrize("where", ["--set", "--set-a", "--set-b"])
def test_a_secret_is_kept_in_no_file_of_a_duet(probe, where):
    told = ("duet", "smoke", "--a", "lab", "--b", "lab", where, "target.auth.key=plain-4711-secret")
    done = probe.inside(*told, "--out", probe.results)
    assert done.code == 2
    assert "is a secret" in done.err
    assert "4711" not in done.told
    assert not list(probe.results.glob("*-duet-*"))


def test_a_terminal_that_goes_away_ends_the_block_too(tmp_path):
    """SIGHUP to a duet ends the run in a session of its own, which it would not reach."""
    mark = tmp_path / "ended"
    words = (
        "import pathlib, signal, sys, time\n"
        f"mark = pathlib.Path({str(mark)!r})\n"
        "signal.signal(15, lambda *_: (mark.touch(), sys.exit(130)))\n"
        "pathlib.Path(f'{mark}.up').touch()\n"
        "time.sleep(60)\n"
    )

    def hang_up():
        until = time.monotonic() + 30
        while not Path(f"{mark}.up").exists() and time.monotonic() < until:
            time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGHUP)

    # Without the mend the signal would end this very process.
    kept = signal.signal(signal.SIGHUP, lambda *_: None)
    thread = threading.Thread(target=hang_up)
    try:
        thread.start()
        code, _ = blocks._run([sys.executable, "-c", words])
    finally:
        thread.join(40)
        signal.signal(signal.SIGHUP, kept)
    assert code == 130
    assert mark.exists()


@pytest.mark.parametrize("form", ["prometheus", "otlp"])
def test_a_push_sends_a_header_without_its_line_end_and_lets_nobody_quote_it(form, monkeypatch):
    secret = "push-secret-4711-abcdef"
    monkeypatch.setenv(outputs.AUTHORIZATION, f"Bearer {secret}\n")
    with receiving(status=400, body=f"bad credentials: {secret}".encode()) as told:
        chosen = outputs.outputs([f"{form}={told.address}"], "--to", stdout=True)
        (line,) = outputs.deliver(chosen, JUDGEMENTS["pass"], Path("nowhere"))
        sent = {name.lower(): value for name, value in told.got[0][2].items()}
    assert sent["authorization"] == f"Bearer {secret}"
    assert "400" in line
    assert secret not in line
    monkeypatch.setenv(outputs.AUTHORIZATION, f"Bearer {secret}\nX-More: 1")
    with pytest.raises(ConfigError, match="no value of a header") as refused:
        outputs.outputs([f"{form}=http://127.0.0.1:9"], "--to", stdout=True)
    assert secret not in str(refused.value)


@pytest.mark.parametrize(
    "way",
    [
        "header:Authorization=Basic dXNlcjpwYXNzd29yZA==", "header:X-Api-Key=abcd",
        "query:token=abc", "query:k=a9f8e7d6c5b4", "cookie:session=4f5e6d7c8b9a0f",
    ],
)  # fmt: skip
def test_a_credential_in_the_place_of_its_template_is_written_nowhere(way):
    source = source_of(Credentials(auth="none"), NOBODY, {})
    with pytest.raises(ConfigError, match="likely a secret") as refused:
        showing_of((way,), (), "", source, NOBODY)
    assert way.partition("=")[2] not in str(refused.value)
    assert showing_of(("header:Origin=https://example.org",), (), "", source, NOBODY).headers


@pytest.mark.parametrize(
    ("verb", "words"),
    [
        ("record", ("ws://127.0.0.1:1/?access_token=plain-4711-abc",)),
        ("init", ("ws://127.0.0.1:1/", "--health", "http://127.0.0.1:1/?api_key=plain-4711-abc")),
        ("init", ("ws://127.0.0.1:1/", "--token-url", "http://me:plain-4711-abc@127.0.0.1:1/")),
    ],
)
def test_a_secret_in_a_url_is_refused_and_not_repeated(probe, verb, words):
    done = probe.inside(verb, *words)
    assert done.code == 2, done.told
    assert "leave it out" in done.err
    assert "4711" not in done.told
    assert not list(probe.cwd.glob("scenarios/**/*.toml"))


def test_a_url_without_secrets_stands():
    refuse_in_url("wss://example.org/a@b?room=7#token=x", "URL")


def test_a_har_file_with_a_url_that_is_none_is_no_error_of_ours():
    said = [{"type": "send", "opcode": 1, "data": "{}"}]
    urls = ("ws://[/x", "ws://h/")
    entries = [{"request": {"url": url}, "_webSocketMessages": said} for url in urls]
    found = har.read(json.dumps({"log": {"entries": entries}}).encode(), "a.har", Redactor())
    assert [each.url for each in found] == ["ws://h/"]
    with pytest.raises(ConfigError, match="holds no WebSocket"):
        har.read(json.dumps({"log": {"entries": entries[:1]}}).encode(), "a.har", Redactor())


def test_rows_that_were_not_looked_at_are_no_clean_sheet():
    troubles = Troubles()
    assert troubles.kinds == 0
    troubles.missed(1_000, 5)
    (found,) = troubles.most(3)
    assert (found.name, found.count) == ("rows not looked at", 1_000)
    assert found.newest
