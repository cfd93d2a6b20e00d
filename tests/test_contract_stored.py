"""`probe validate DIALECT --against RUN`: what a run has kept, held to a dialect."""

import json
import struct

import pytest

from probe.contract.stored import compare, printable, start_of
from probe.errors import HistoryError
from probe.history.journal import TEXT_MAX, Journal
from probe.history.records import Kind, Odd
from probe.model.dialect import Dialect
from probe.redact import Redactor

TEXT, BINARY, PING = 1, 2, 9
SENT, RECEIVED = 0, 1
DIALECT = """
title = "Strict"
[present.default]
[run]
start = "{run}"
events = ["started", "done"]
[contract.every]
required = ["run_id"]
properties.n = { type = "integer" }
[contract]
closed = true
shapes = { flat = "", nested = "payload" }
"""
GOOD = {"type": "done", "run_id": "r", "n": 1}


@pytest.fixture
def run(tmp_path):
    """Write a run whose history kept these messages; its folder."""

    def write(*messages, received=0, name="20260101-000000-x-0000"):
        folder = tmp_path / "results" / name
        folder.mkdir(parents=True)
        journal = Journal(folder / "history", Redactor())
        for number, message in enumerate(messages):
            direction, opcode, payload = message if isinstance(message, tuple) else (
                RECEIVED, TEXT, message)  # fmt: skip
            data = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
            journal.row(number, 0, 0, Kind.GOT)
            journal.row(number, 0, 0, Kind.KEPT, direction, opcode, journal.text(data))
        if received:
            journal.row(99, 0, 0, Kind.TRAFFIC, RECEIVED, received, 5000)
            journal.row(99, 0, 0, Kind.TRAFFIC, SENT, 7, 5000)
        journal.close()
        return folder

    return write


def dialect(**more):
    return Dialect.model_validate(
        {
            "title": "d",
            "present": {"default": {}},
            "run": {"start": "{run}", "events": ["started", "done"]},
            "contract": {"every": {"required": ["run_id"]}},
        }
        | more
    )


def test_only_what_was_received_kept_and_whole_is_looked_at(run):
    folder = run(
        GOOD,
        (SENT, TEXT, b"not json"),
        (RECEIVED, BINARY, b"\xff"),
        (RECEIVED, PING, b"ping"),
        {**GOOD, "more": "x" * TEXT_MAX},  # stored cut off
        received=50,
    )
    found = compare(folder, dialect())
    assert found is not None
    assert (found.received, found.kept, found.looked_at) == (50, 3, 1)
    assert not found.counts
    several = compare(folder, dialect(framing="several"))
    assert several is not None
    assert several.looked_at == 2  # the binary one too
    assert list(several.counts) == [(Odd.MALFORMED, "not UTF-8")]
    assert compare(folder, dialect(framing="opaque")) is None


def test_a_message_that_the_cap_kept_out_is_not_kept(run):
    folder = run(GOOD)
    rows = (folder / "history" / "rows.bin").read_bytes()
    # The last row is the KEPT one; without a reference its text was refused.
    (folder / "history" / "rows.bin").write_bytes(rows[:-8] + struct.pack("<q", 0))
    found = compare(folder, dialect())
    assert found is not None
    assert (found.received, found.kept, found.looked_at) == (1, 0, 0)


def test_the_same_mistake_in_another_value_is_told_once(run):
    wrong = {"every": {"properties": {"n": {"type": "integer"}}}}
    folder = run({**GOOD, "n": "a"}, {**GOOD, "n": "b"}, {**GOOD, "n": []}, b"[", b"[1,")
    found = compare(folder, dialect(contract=wrong))
    assert found is not None
    assert found.counts == {
        (Odd.TYPE, "done.n"): 3,
        (Odd.MALFORMED, "not JSON: Expecting value"): 2,
    }
    words, message = found.first[Odd.TYPE, "done.n"]
    assert words.endswith(': "a"')
    assert json.loads(message)["n"] == "a"


def test_where_there_is_no_history_that_is_said(tmp_path):
    with pytest.raises(HistoryError):
        compare(tmp_path, dialect())


def test_a_message_is_shown_as_one_printable_line():
    assert start_of(b'{"a":"\x1b[31m\xff\n"}') == '{"a":"\\x1b[31m\\xff\\n"}'
    assert len(start_of(b"x" * 10_000)) == 120
    assert printable("a\x9bb\u202e") == "a\\x9bb\\u202e"


# --- the command ---


def validate(probe, *more):
    probe.write("scenarios/dialects/strict.toml", DIALECT)
    return probe.inside("validate", *more)


def test_a_run_that_keeps_the_dialect(probe, run, tmp_path):
    folder = run(GOOD, GOOD, received=1234)
    done = validate(probe, "strict", "--against", str(folder))
    assert done.code == 0, done.told
    assert "no breach in the 2 messages looked at" in done.out
    assert "kept 2 of the 1,234 messages" in done.out
    done = validate(probe, "strict", "--against", folder.name, "--out", str(folder.parent))
    assert done.code == 0, done.told


def test_every_breach_is_told_once_with_its_count_and_first_message(probe, run):
    folder = run(
        GOOD,
        {"type": "done"},
        {"type": "done", "n": 2},
        {"type": "done", "payload": {"run_id": "r"}},
        {"type": "new", "first": "[red]\x1b"},
        b"{",
        received=10,
    )
    done = validate(probe, "strict", "--against", str(folder))
    assert done.code == 1, done.told
    lines = [line for line in done.out.splitlines() if " x  " in line]
    assert len(lines) == 4, done.out
    assert lines[0].split()[:4] == ["2", "x", "missing", "done.run_id:"]
    assert '{"type": "done"}' in lines[0]
    told = "\n".join(lines)
    for part in ("in the shape 'nested'", 'unknown  type: "new"', "malformed  not JSON", "[red]"):
        assert part in told, told
    assert "\x1b" not in done.out
    assert "4 distinct breaches in the 6 messages looked at" in done.out


def test_where_nothing_was_kept_nothing_is_claimed(probe, run):
    folder = run(received=77)
    done = validate(probe, "strict", "--against", str(folder))
    assert done.code == 3, done.told
    assert "nothing was compared: the run kept 0 of the 77 messages" in done.out
    assert "no breach" not in done.out


def test_one_dialect_is_named_and_one_that_reads(probe, run):
    folder = run(GOOD)
    for names in ((), ("smoke",), ("strict", "plain"), ("strict", "strict")):
        done = validate(probe, *names, "--against", str(folder))
        assert done.code == 2, done.told
        assert "exactly one dialect" in done.err
    assert validate(probe, "strict", "--against", "no-such-run").code == 2
    probe.write("scenarios/dialects/opaque.toml", DIALECT.replace(
        'title = "Strict"', 'title = "Opaque"\nframing = "opaque"'))  # fmt: skip
    done = probe.inside("validate", "opaque", "--against", str(folder))
    assert done.code == 2, done.told
    assert "looks into no message" in done.err


def test_what_is_no_schema_is_told_by_validate(probe):
    text = DIALECT.replace('required = ["run_id"]', 'required = "run_id"')
    probe.write("scenarios/dialects/wrong.toml", text)
    done = probe.inside("validate", "wrong")
    assert done.code == 2, done.told
    assert "wrong.toml: contract.every: no JSON Schema" in done.err
