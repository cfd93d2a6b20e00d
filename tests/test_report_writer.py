"""The writer: whole files or none; the terminal where a console is poor."""

import os
from collections.abc import Sequence
from io import BytesIO, TextIOWrapper
from pathlib import Path

import pytest
from rich.console import Console

from probe.check.verdict import Check, Finding, Fitness, Judgement, Outcome, Step, Witness
from probe.report import terminal, writer

RUN = {"run_id": "r", "scenario": "smoke", "target": "local", "seed": 7, "complete": True}
CHECK = Check("s.connects", "s", True, Outcome.PASS, "witness", 1, "1 of 1 \u00fc \u4f60 connected")
PASSED = Judgement(Outcome.PASS, RUN, (CHECK,), (), Fitness(), {})
NAMES = ["junit.xml", "report.html", "report.md", "summary.json", "verdict.json"]


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_verdict_is_written_last(tmp_path, monkeypatch):
    order = []

    def replace(self, to):
        order.append(to.name)
        os.replace(self, to)  # noqa: PTH105 -- the method itself is what stands in here

    monkeypatch.setattr("pathlib.Path.replace", replace)
    writer.write_reports(PASSED, tmp_path)
    assert order[-1] == "verdict.json"
    assert sorted(order) == NAMES


def test_a_failing_disk_leaves_the_old_file_whole(tmp_path, monkeypatch):
    writer.write_reports(PASSED, tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def full(descriptor):
        raise OSError(28, "no space left")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="no space"):
        writer.write_reports(Judgement(Outcome.ERROR, RUN, (), (), Fitness(), {}), tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_what_cannot_be_rendered_writes_nothing(tmp_path):
    odd = Judgement(Outcome.PASS, RUN, (CHECK,), (), Fitness(), {}, summary={"x": {1}})
    with pytest.raises(TypeError):
        writer.write_reports(odd, tmp_path)
    assert names(tmp_path) == []


def test_reports_can_be_read_by_others(tmp_path):
    for path in writer.write_reports(PASSED, tmp_path):
        assert path.stat().st_mode & 0o777 == 0o644


def test_the_step_summary_is_appended_to(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("before\n")
    folder = tmp_path / "run"
    folder.mkdir()
    writer.write_reports(PASSED, folder, step_summary=page)
    assert page.read_text() == "before\n" + (folder / "report.md").read_text()


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_a_console_without_unicode_gets_escapes(encoding):
    raw = BytesIO()
    stream = TextIOWrapper(raw, encoding=encoding)
    terminal.show(PASSED, Console(file=stream, width=80, _environ={}))
    stream.flush()
    text = raw.getvalue().decode(encoding)
    assert ("\u4f60" in text) == (encoding == "utf-8")
    assert (r"\u4f60" in text) == (encoding != "utf-8")
    assert "\x1b" not in text  # a file is no terminal


def failing(command: str, steps: Sequence[Step]) -> Judgement:
    witness = Witness(3, 0, "boot", "/ws", "2025-09-11T10:15:04Z", tuple(steps))
    found = Finding("a.b", "critical", "witness", 1, "m", "c", (witness,), command, CHECK.id)
    return Judgement(Outcome.FAIL, RUN, (CHECK,), (found,), Fitness(), {})


def lines_of(judgement: Judgement, width: int = 80) -> list[str]:
    console = Console(file=TextIOWrapper(BytesIO(), "utf-8"), width=width, _environ={})
    return [line.plain for line in terminal.screen(judgement, console)]


def test_a_wrapped_command_still_runs():
    command = "probe run cold_start --target lab --seed 7 --only boot --population herd --trials 3"
    lines = lines_of(failing(command, ()), width=50)
    at = next(i for i, line in enumerate(lines) if line.startswith("  probe run"))
    joined = "\n".join(lines[at:]).split("\n\n")[0]
    assert joined.count("\\\n") >= 1
    assert joined.replace("\\\n", " ").split() == command.split()


def test_half_a_command_is_not_shown():
    lines = lines_of(failing("probe run " + "word " * 200, ()))
    assert "  again: the command is in report.md" in lines
    assert not any("word" in line for line in lines)


def test_a_long_witness_keeps_its_start_and_its_end():
    steps = [Step(i / 1000, "server", f"frame {i}") for i in range(30)]
    shown = [line for line in lines_of(failing("x", steps)) if "frame" in line]
    assert [line.split()[-1] for line in shown] == ["0", "1", "2", "27", "28", "29"]
    assert any("6 of 30 steps" in line for line in lines_of(failing("x", steps)))


def test_notes_give_way_to_the_wire():
    wire = [Step(0.0, "probe", "GET"), Step(0.1, "server", "101"), Step(0.2, "server", "close")]
    notes = [Step(0.05, "note", f"note {i}") for i in range(9)]
    text = "\n".join(lines_of(failing("x", [wire[0], *notes, *wire[1:], notes[-1]])))
    assert all(step.what in text for step in wire)
    assert "note 8" in text
    assert "4 of 13 steps" in text
