"""The benchmark against other tools: what it counts, what it refuses, what it tells."""

from __future__ import annotations

import json
import os
import shutil
import sys
import textwrap
import time
from dataclasses import dataclass, replace
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from benchmarks.peers import install, run, table
from benchmarks.peers.measure import Bench, FailedError, Sizes, within_ms
from benchmarks.peers.tree import started
from benchmarks.peers.with_artillery import Artillery
from benchmarks.peers.with_k6 import K6
from benchmarks.peers.with_library import Library
from benchmarks.peers.with_locust import Locust
from benchmarks.peers.with_tsung import Tsung
from benchmarks.peers.work import KINDS, Command, MissingError, Reported, Work

CORES = sorted(os.sched_getaffinity(0))
TINY = Sizes(
    connects=(100, 1_000), hold=(100, 400), burst=(20_000, 100_000), upgrade=100, settle_s=0.1,
    single_s=0.3, deadline_s=60,
)  # fmt: skip

needs_dpkg = pytest.mark.skipif(not shutil.which("dpkg"), reason="this machine is no Debian")
needs_server = pytest.mark.skipif(
    not any(map(shutil.which, ("cc", "gcc", "clang"))) or len(CORES) < 2,
    reason="the benchmark's server needs a C compiler (apt install build-essential) and a core",
)


@pytest.fixture(autouse=True)
def _own_affinity():
    """A driver of two cores leaves this process where it was."""
    yield
    assert sorted(os.sched_getaffinity(0)) == CORES


def work(kind, folder, n=100):
    return Work(kind, n, 8080, CORES[0], folder)


def told_by(tool, folder, printed=""):
    found = tool.reported(work("upgrade", folder), printed)
    assert found is not None
    return found.ms


def until(reached):
    deadline_s = time.monotonic() + 30
    while not reached():
        assert time.monotonic() < deadline_s
        time.sleep(0.01)


def gone(pid):
    """Whether it runs no more; one whose parent died may be a zombie until it is reaped."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="ascii")
    except FileNotFoundError:
        return True
    return stat.rpartition(")")[2].split()[0] == "Z"


# ---- a tool while it runs ----

BURN = "import time\nwhile time.process_time() < {cpu_s}: pass\n"
HOLD = "kept = bytearray({size})\nprint('there', flush=True)\nimport time\ntime.sleep(60)\n"


def script(code):
    return Command((sys.executable, "-c", code))


def test_the_time_of_a_tool_is_its_own_and_that_of_its_children(tmp_path):
    code = f"""
        import subprocess, sys
        subprocess.run([sys.executable, "-c", {BURN.format(cpu_s=0.3)!r}], check=True)
        {BURN.format(cpu_s=0.2)!r}
    """
    with started(script(textwrap.dedent(code)), tmp_path, CORES[0]) as tree:
        until(lambda: tree.ended)
    assert tree.code == 0
    assert tree.cpu_s() >= 0.3
    assert tree.wall_s >= tree.cpu_s()


def test_the_time_of_a_living_tool_only_grows_and_children_count(tmp_path):
    child = "import subprocess, sys\nsubprocess.run([sys.executable, '-c', 'while True: pass'])"
    with started(script(child), tmp_path, CORES[0]) as tree:
        until(lambda: tree.cpu_s() > 0.2)
        (parent, burning) = tree._pids()
        assert not tree.ended
    assert tree.code == -9
    until(lambda: gone(parent) and gone(burning))


def test_what_outlives_the_process_is_ended_with_its_group(tmp_path):
    code = "import subprocess, sys\nprint(subprocess.Popen(['sleep', '60']).pid, flush=True)"
    with started(script(code), tmp_path, CORES[0]) as tree:
        until(lambda: tree.ended)
        orphan = int((tmp_path / "printed").read_text().split()[0])
        assert not gone(orphan)
    until(lambda: gone(orphan))


def test_the_memory_of_a_tool_holds_that_of_its_children(tmp_path):
    megabytes = 60
    child = HOLD.format(size=megabytes << 20)
    code = f"import subprocess, sys\nsubprocess.run([sys.executable, '-c', {child!r}])"
    with started(script(code), tmp_path, CORES[0]) as tree:
        until(lambda: "there" in (tmp_path / "printed").read_text())
        assert tree.rss_kb() > megabytes << 10
    assert tree.rss_kb() == 0


def test_a_tool_begins_on_its_core(tmp_path):
    code = "import os; print(sorted(os.sched_getaffinity(0)))"
    with started(script(code), tmp_path, CORES[-1]) as tree:
        until(lambda: tree.ended)
    assert (tmp_path / "printed").read_text().strip() == f"[{CORES[-1]}]"


# ---- what is measured, by a library that is there ----


@pytest.fixture(scope="module")
def bench():
    return Bench(TINY, (CORES[0], CORES[-1]))


LIBRARY = Library("websockets", "benchmarks.clients.websockets_asyncio", "websockets")


@needs_server
def test_connects_are_the_slope_between_two_works_that_the_server_counted(bench):
    told = bench.measure(LIBRARY, "connects")
    small, large = told["small"], told["large"]
    # The job's warm-up of 100 connects is work as well.
    assert (small["n"], large["n"]) == (200, 1_100)
    assert told["per_cpu_s"] == pytest.approx(900 / (large["cpu_s"] - small["cpu_s"]))


@needs_server
def test_bursts_are_counted_by_the_server(bench):
    told = bench.measure(LIBRARY, "burst")
    assert (told["small"]["n"], told["large"]["n"]) == (21_000, 105_000)


@needs_server
def test_memory_is_told_of_both_sizes(bench):
    told = bench.measure(LIBRARY, "hold")
    rss = told["rss_kb"]
    assert told["open"] == {"100": 100, "400": 400}
    assert told["slope_kb"] == pytest.approx((rss["400"] - rss["100"]) / 300)
    assert rss["400"] > rss["100"] > 10_000


@needs_server
def test_one_per_read_is_driven_from_outside(bench):
    told = bench.measure(LIBRARY, "single")
    # Each round reaches the hundred that are held, and the connection that asks for it.
    assert told["server"]["frames_out"] % 101 == 0
    assert 0 < told["n"] // 100 < told["server"]["frames_out"] // 101
    assert told["n"] % 100 == 0
    assert told["cpu_s"] > 0


@needs_server
def test_an_error_is_what_is_told_less_the_truth(bench, tmp_path):
    told = bench.measure(LIBRARY, "upgrade")
    assert told["truth_ms"]["min"] >= 100
    assert told["phase_error_ms"] is None
    assert 0 < told["error_ms"]["p50"] <= told["error_ms"]["p99"]
    assert told["within_ms"] > 0


def test_how_long_the_last_connections_took_to_come():
    # A warm-up of 5, then 10: the first look that has all of them is the end.
    looks = [(0.0, 0), (1.0, 5), (1.5, 5), (2.0, 7), (3.0, 15), (4.0, 15)]
    assert within_ms(looks, 10) == 1500
    assert within_ms([(0.0, 0), (2.0, 10)], 10) == 2000


@dataclass(frozen=True)
class Stub:
    """A tool that does what its code says."""

    code: str
    ms: float | None = None
    name: str = "stub"

    def prepare(self):
        return "1"

    def cannot(self, kind):
        return None

    def command(self, work):
        return Command((sys.executable, "-c", self.code), work.env)

    def reported(self, work, printed):
        return None if self.ms is None else Reported("a word", {"p50": self.ms, "mean": self.ms})


@needs_server
@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("raise SystemExit('no such option')", r"ended with 1: no such option"),
        ("print('all done')", "0 of 100"),
    ],
)
def test_a_tool_that_did_not_do_the_work_has_no_figure(bench, code, says):
    with pytest.raises(FailedError, match=says):
        bench.measure(Stub(code), "connects")


@needs_server
def test_a_tool_that_holds_nothing_has_no_figure(bench):
    with pytest.raises(FailedError, match=r"ended \(0\) too early: gone"):
        bench.measure(Stub("print('gone')"), "hold")


CONNECT_ALL = """
import asyncio, os
from websockets.asyncio.client import connect
async def main():
    n = int(os.environ["WORK_N"])
    await asyncio.gather(*(connect(os.environ["WORK_URL"], proxy=None) for _ in range(n)))
asyncio.run(main())
"""


@needs_server
def test_what_a_tool_tells_is_held_against_the_server(bench):
    told = bench.measure(Stub(CONNECT_ALL, ms=350.0), "upgrade")
    truth = told["truth_ms"]["p50"]
    assert truth >= 100
    assert told["error_ms"] == {"p50": 350.0 - truth, "mean": 350.0 - truth}
    with pytest.raises(FailedError, match="reported nothing"):
        bench.measure(Stub(CONNECT_ALL), "upgrade")


# ---- the drivers ----


def test_k6_is_told_the_work_and_its_summary_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr(install, "python", lambda: tmp_path)
    for module in ("ws", "websockets"):
        argv = K6(module).command(work("burst", tmp_path, n=7)).argv
        assert "--env=WORK_N=7" in argv
        assert "--env=WORK=burst" in argv
        assert Path(argv[-1]).is_file()
    printed = 'level=warning\n{"avg":301,"med":300,"p(99)":400,"max":410}\n'
    assert told_by(K6("ws"), tmp_path, printed) == {"p50": 300, "p99": 400, "mean": 301, "max": 410}
    with pytest.raises(ValueError, match="no line of JSON"):
        K6("ws").reported(work("upgrade", tmp_path), "level=error")


@pytest.mark.parametrize("kind", KINDS)
def test_artillery_starts_as_many_as_the_work_has(kind, tmp_path, monkeypatch):
    monkeypatch.setattr(install, "artillery", lambda: tmp_path)
    argv = Artillery().command(work(kind, tmp_path, n=5_000)).argv
    (phase,) = json.loads(argv[argv.index("--overrides") + 1])["config"]["phases"]
    assert phase["arrivalCount"] == (1 if kind == "burst" else 5_000)
    text = Path(argv[-1]).read_text(encoding="utf-8")
    assert f"- name: {argv[argv.index('--scenario-name') + 1]}\n" in text


def test_artillery_tells_the_metric_of_its_script(tmp_path):
    summary = {"p50": 300, "p99": 400, "mean": 310, "max": 420, "p95": 1}
    aggregate = {"summaries": {"connect": summary, "vusers.session_length": {}}}
    (tmp_path / "report.json").write_text(json.dumps({"aggregate": aggregate}))
    assert told_by(Artillery(), tmp_path) == {"p50": 300, "p99": 400, "mean": 310, "max": 420}


def test_locust_counts_by_response_time(tmp_path):
    entry = {
        "response_times": {"250": 98, "260.0": 1, "900": 1}, "num_requests": 100,
        "total_response_time": 26_000, "max_response_time": 901,
    }  # fmt: skip
    (tmp_path / "stats.json").write_text(json.dumps([entry]))
    assert told_by(Locust(), tmp_path) == {"p50": 250, "p99": 260, "mean": 260, "max": 901}


@pytest.mark.parametrize(("kind", "thinks"), [("connects", 0), ("upgrade", 0), ("hold", 1)])
def test_tsung_is_given_whole_xml(kind, thinks, tmp_path, monkeypatch):
    monkeypatch.setattr(install, "debian", lambda: tmp_path)
    (tmp_path / "usr/lib/erlang/erts-1/bin").mkdir(parents=True)
    command = Tsung().command(work(kind, tmp_path, n=77))
    text = (tmp_path / "tsung.xml").read_text(encoding="utf-8")
    assert "@" not in text.partition("-->")[2].replace("@127", "")
    root = ET.fromstring(text)
    assert [users.get("maxnumber") for users in root.iter("users")] == ["77"]
    assert [server.get("port") for server in root.iter("server")] == ["8080"]
    assert len(root.findall(".//thinktime")) == thinks
    # Nothing of it listens beyond loopback.
    assert "-address 127.0.0.1" in command.argv[-1]
    assert "inet_dist_use_interface" in command.argv[-1]


def test_tsung_has_means_of_the_whole_run(tmp_path):
    log = tmp_path / "log" / "20260101-0000" / "tsung.log"
    log.parent.mkdir(parents=True)
    log.write_text(
        "stats: connect 300 45.5 3.0 53 41 0 0\n"
        "stats: request 300 140.0 3.7 160 145 0 0\n"
        "stats: connect 0 0 0 53 41 45.5 300\n"
        "stats: request 100 180.0 3.7 190 145 140.0 300\n"
    )
    assert told_by(Tsung(), tmp_path) == {"mean": 45.5 + 150.0}
    log.write_text("stats: users 0 300\n")
    assert Tsung().reported(work("upgrade", tmp_path), "") is None


def test_what_cannot_be_had_is_left_out_by_name_and_reason():
    class Gone(Stub):
        def prepare(self):
            raise MissingError("npm failed: it said so")

    class Half(Stub):
        def cannot(self, kind):
            return "it reads none" if kind in {"burst", "single"} else None

    versions, skipped = run.prepared([Stub(""), Gone("", name="gone"), Half("", name="half")])
    assert versions == {"stub": "1", "half": "1"}
    assert skipped == {"gone": "npm failed: it said so", "half, burst, single": "it reads none"}


@needs_dpkg
def test_an_install_that_failed_leaves_no_stamp(tmp_path, monkeypatch):
    monkeypatch.setattr(install, "PEERS", tmp_path)
    monkeypatch.setattr(install, "DEBIAN", ("first", "second"))
    asked = []

    def fails(*argv, cwd):
        asked.append(argv)
        (cwd / "half").touch()
        raise MissingError("apt-get download failed: no such package")

    monkeypatch.setattr(install, "run", fails)
    for n in (1, 2):
        with pytest.raises(MissingError, match="no such package"):
            install.debian()
        assert len(asked) == n
        assert asked[-1][-2:] == ("first", "second")
    monkeypatch.setattr(install, "run", lambda *argv, cwd: asked.append(argv))
    for _ in (1, 2):
        # Made anew, without what the failure left; and once only.
        assert [path.name for path in install.debian().iterdir()] == [".installed"]
    assert len(asked) == 3


def test_a_failed_command_is_told_by_its_last_line():
    with pytest.raises(MissingError, match=r"^there is no never-heard-of$"):
        install.run("never-heard-of")
    code = "import sys; sys.exit('first line\\nthe last line')"
    with pytest.raises(MissingError, match=r"-c failed: the last line$"):
        install.run(sys.executable, "-c", code)
    assert install.run(sys.executable, "-c", "print(1)") == "1\n"


# ---- what is told ----


def measurement(tool, repeat, value, **more):
    return {"tool": tool, "kind": "connects", "repeat": repeat, "per_cpu_s": value, **more}


def test_a_ratio_is_the_probe_over_a_tool_within_a_repeat():
    rows = [
        measurement("probe", 0, 10_000), measurement("k6/ws", 0, 5_000),
        measurement("probe", 1, 30_000), measurement("k6/ws", 1, 10_000),
        measurement("locust", 1, 1_000),
    ]  # fmt: skip
    text = table.tables(rows, ["probe", "k6/ws", "locust", "tsung"])
    assert text.startswith("### connects per CPU-second")
    cells = [[c.strip() for c in line.split("|")[1:-1]] for line in text.splitlines()[4:]]
    assert cells == [
        ["probe", "20,000 [10,000 .. 30,000]", "1 [1 .. 1]", "2"],
        ["k6/ws", "7,500 [5,000 .. 10,000]", "2.5 [2 .. 3]", "2"],
        ["locust", "1,000 [1,000 .. 1,000]", "30 [30 .. 30]", "1"],
    ]


def test_memory_has_a_table_for_each_size():
    m = {
        "tool": "probe", "kind": "hold", "repeat": 0, "small": 1_000, "large": 5_000,
        "open": {"1000": 1_000, "5000": 5_000}, "slope_kb": 15.0,
        "rss_kb": {"1000": 40_000.0, "5000": 100_000.0},
    }  # fmt: skip
    text = table.tables([m], ["probe"])
    assert "at 1,000\n\n" in text
    assert "at 5,000\n\n" in text
    assert "| 40 [40 .. 40]  |" in text
    assert "| 20 [20 .. 20]  |" in text
    assert "1,000 to 5,000" in text


def test_noise_a_busy_server_and_failures_are_told():
    busy = {"wall_s": 2.0, "cpu_s": 1.0, "others_s": 0.0, "server": {"cpu_s": 1.9}}
    noisy = {"wall_s": 2.0, "cpu_s": 1.0, "others_s": 0.5, "server": {"cpu_s": 0.1}}
    rows = [
        measurement("a", 0, 1.0, small=noisy, large=busy),
        {**noisy, "tool": "b", "kind": "single", "repeat": 0, "share": 0.9, "per_cpu_s": 1.0},
        {"tool": "c", "kind": "hold", "repeat": 1, "failed": "it ended"},
    ]
    said = run.warnings(rows)
    assert "failed: c, hold, repeat 2: it ended" in said
    assert any(line.startswith("in 2 of 3 runs something else") for line in said)
    assert "the server was busy over 80%: a at connects" in said
    assert any("one per read" in line and line.endswith(": b") for line in said)
    assert (
        run.warnings(
            [
                measurement(
                    "a", 0, 1.0, small={**noisy, "others_s": 0.0}, large={**noisy, "others_s": 0.0}
                )
            ]
        )
        == []
    )


SESSION = {
    "session": "2026-01-02T03:04:05+00:00", "quick": False, "repeats": 1,
    "machine": {"cpu": "a CPU", "kernel": "6", "python": "3"}, "versions": {"probe": "1"},
    "skipped": {"tsung": "no dpkg"},
}  # fmt: skip


def test_the_latest_session_is_told_again_and_written_between_the_marks(
    tmp_path, monkeypatch, capsys
):
    store, doc = tmp_path / "peers.jsonl", tmp_path / "page.md"
    monkeypatch.setattr(run, "STORE", store)
    assert run.stored() is None
    old = {**SESSION, "session": "2025-01-01T00:00:00+00:00"}
    lines = [
        old, {"session": old["session"], **measurement("probe", 0, 1.0)},
        SESSION, {"session": SESSION["session"], **measurement("probe", 0, 4_321.0)},
    ]  # fmt: skip
    quiet = {"wall_s": 1.0, "cpu_s": 1.0, "others_s": 0.0, "server": {"cpu_s": 0.1}}
    lines = [{**line, "small": quiet, "large": quiet} if "tool" in line else line for line in lines]
    store.write_text("".join(json.dumps(line) + "\n" for line in lines))
    doc.write_text(f"before\n{run.BEGIN}\nold\n{run.END}\nafter\n")
    monkeypatch.setattr(sys, "argv", ["peers", "--stored", "--write", str(doc)])
    assert run.main() == 0
    text = doc.read_text()
    assert text.startswith(f"before\n{run.BEGIN}\n\nMeasured on 2026-01-02: a CPU")
    assert text.endswith(f"- skipped tsung: no dpkg\n\n{run.END}\nafter\n")
    assert "4,321" in text
    assert "old" not in text
    assert "4,321" in capsys.readouterr().out
    doc.write_text("no marks")
    with pytest.raises(ValueError, match="has no <!-- peers: begin -->"):
        run.publish("text", doc)


def test_the_page_has_the_marks():
    text = (Path(__file__).parent.parent / "docs" / "benchmarks.md").read_text(encoding="utf-8")
    assert text.count(run.BEGIN) == text.count(run.END) == 1


# ---- the tools themselves, where they were installed ----

# Starting Node takes three seconds, give or take some tenths: the slope wants a work beyond that.
LONGER = Bench(
    replace(TINY, connects=(100, 3_000), burst=(20_000, 1_500_000)), (CORES[0], CORES[-1])
)
INSTALLED = {K6("ws"): "python", K6("websockets"): "python", Locust(): "python",
             Artillery(): "node", Tsung(): "debian"}  # fmt: skip


@needs_server
@pytest.mark.long
@pytest.mark.parametrize("tool", INSTALLED, ids=lambda tool: tool.name)
@pytest.mark.parametrize("kind", KINDS)
def test_a_tool_does_the_work(tool, kind):
    if not (install.PEERS / INSTALLED[tool] / ".installed").exists():
        pytest.skip(f"{tool.name} is not installed: make bench-peers does it")
    why = tool.cannot(kind)
    if why is not None:
        pytest.skip(why)
    told = LONGER.measure(tool, kind)
    if kind in {"connects", "burst", "single"}:
        assert told["per_cpu_s"] > 0
    elif kind == "hold":
        assert told["rss_kb"]["100"] > 10_000
    else:
        assert told["error_ms"]["mean"] > 0
