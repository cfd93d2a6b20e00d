"""What a health answer tells: bounded, and unknown where it does not say."""

import json

import pytest

from probe.engine.told import PARTS, at, revision_in, told_by


def told(message, field="status", revision=""):
    body = message if isinstance(message, bytes) else json.dumps(message).encode()
    return told_by(body, field, revision)


@pytest.mark.parametrize("container", PARTS)
def test_parts_stand_under_one_of_the_usual_names(container):
    parts = {"postgres": {"status": "degraded", "ms": 5100}, "redis": "ok", "up": True, "n": [1]}
    found = told({"status": "degraded", container: parts, "memory_bytes": 7, "commit": "abc"})
    assert found.status == "degraded"
    assert dict(found.parts) == {"postgres": "degraded", "redis": "ok", "up": "True"}
    assert (found.memory_bytes, found.revision) == (7, "abc")
    assert json.loads(found.to_json()) == {
        "status": "degraded", "parts": dict(found.parts), "revision": "abc", "memory_bytes": 7,
    }  # fmt: skip


@pytest.mark.parametrize(
    "body", [b"", b"ok", b"[]", b"{", b"\xff", b"[" * 100_000, b'{"dependencies":[1],"status":{}}']
)
def test_what_is_not_told_is_unknown(body):
    assert told(body) == (None, (), None, None)
    assert at(body, "status.x") is None
    assert revision_in(body) == ""


@pytest.mark.parametrize("memory", [True, -1, "5", 1.5, 2**70, None])
def test_memory_is_a_number_of_bytes_or_unknown(memory):
    assert told({"memory_bytes": memory}).memory_bytes is None


def test_the_header_wins_and_everything_is_bounded():
    parts = {f"{n}" * 300: "x" * 1000 for n in range(100)}
    found = told({"state": {"word": "y" * 999}, "checks": parts, "version": "z"}, "state.word", "h")
    assert found.revision == "h"
    assert len(found.status or "") == 200
    assert len(found.parts) == 50
    assert len(found.to_json()) < 50 * 450
