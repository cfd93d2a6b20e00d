"""Python scenarios: `async def` scripts on the same session API, judged without their file."""

import pytest

from probe.history.columns import History

SCENARIO = '''
"""Two clients that do it by hand, and one that goes wrong."""

from probe.model.scenario import Scenario


async def by_hand(session):
    await session.connect()
    await session.run(2)
    await session.ping()
    await session.hold(10_000_000)
    assert await session.http("GET", "backend", "/health") == 200
    await session.close()


async def wrong(session):
    await session.connect()
    if session.user.endswith("2"):
        raise LookupError("no such thing for " + session.user)
    await session.close()


scenario = Scenario.model_validate({
    "title": "By hand",
    "stages": {
        "load": {
            "patience": "3s",
            "expect": {"success": {"rate": "20%"}, "runs": {"rate": "20%"}, "definite": True},
            "populations": {
                "good": {"shape": {"clients": 2}, "script": by_hand},
                "bad": {"shape": {"clients": 2}, "script": wrong},
            },
        },
    },
})
'''


def test_a_python_scenario_is_played_and_judged_without_its_file(probe):
    path = probe.write("scenarios/by_hand.py", SCENARIO)
    assert "by_hand" in probe.inside("list").out
    assert probe.inside("validate", "by_hand").code == 0
    done = probe.run("by_hand", target="lab")
    assert done.code in (0, 3), done.told
    history = History.open(done.folder / "history")
    outcomes = history.sessions["outcome"].tolist()
    assert sorted(outcomes) == [0, 0, 0, 1]
    failed = history.sessions[history.sessions["outcome"] == 1][0]
    why = history.text(failed["why"]).decode()
    assert "LookupError" in why
    assert "no such thing for probe-2" in why
    assert "Traceback" not in done.err  # a script's error is its session's, not the run's
    assert history.complete
    assert history.runs["outcome"].tolist() == [1] * 4
    resolved = (done.folder / "scenario.resolved.toml").read_text()
    assert "python:" in resolved
    assert "no such thing" not in resolved
    # Poisoned, and then gone: the stored run is judged all the same.
    before = (done.folder / "verdict.json").read_bytes()
    path.write_text("raise SystemExit('poisoned')\n")
    for _ in range(2):
        again = probe("check", done.folder, "--json")
        assert again.code == done.code, again.told
        assert again.out.encode() == before
        path.unlink(missing_ok=True)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("raise RuntimeError('at import')", "RuntimeError: at import"),
        pytest.param("x = 1", "scenario", marks=pytest.mark.long),
        pytest.param("scenario = {'title': 'a'}", "stages", marks=pytest.mark.long),
        ("scenario = {'title': 'a', 'stages': {'s': {'popultions': {}}}}", "populations"),
        pytest.param("def (", "SyntaxError", marks=pytest.mark.long),
        pytest.param("import no_such_module_here", "no_such_module_here", marks=pytest.mark.long),
    ],
)
def test_a_broken_python_scenario_is_a_usage_error(probe, body, said):
    probe.write("scenarios/broken.py", body + "\n")
    done = probe.inside("run", "broken", "-t", "lab", "--out", probe.results)
    assert done.code == 2, done.told
    assert said in done.err
    assert "Traceback" not in done.err
    assert probe.runs() == []


def test_set_does_not_reach_into_python(probe):
    probe.write("scenarios/by_hand.py", SCENARIO)
    done = probe.inside("run", "by_hand", "--set", "stages.load.trials=2", "-t", "lab")
    assert done.code == 2, done.told
    assert "--set" in done.err


@pytest.mark.long
def test_a_script_that_waits_for_itself_is_cut_off_by_patience(probe):
    probe.write(
        "scenarios/stuck.py",
        """
import asyncio

async def stuck(session):
    await session.connect()
    await asyncio.sleep(1000)

async def two_at_once(session):
    await session.connect()
    await asyncio.gather(session.ping(), session.ping(), session.hold(200_000_000_000))

scenario = {
    "title": "stuck",
    "stages": {"load": {
        "patience": "500ms",
        "expect": {"success": {"rate": "50%"}},
        "populations": {
            "one": {"shape": {"clients": 2}, "script": stuck},
            "two": {"shape": {"clients": 2}, "script": two_at_once},
        },
    }},
}
""",
    )
    done = probe.run("stuck", target="lab", within_s=25)
    assert done.code in (1, 3), done.told
    history = History.open(done.folder / "history")
    assert history.complete
    assert (history.sessions["outcome"] > 0).all()
    assert (history.attempts["outcome"] >= 0).all()
