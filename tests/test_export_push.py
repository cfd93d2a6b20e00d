"""Exports that leave the machine, or a file behind: real receivers, and what fails is told."""

import contextlib
import gzip
import http.server
import json
import os
import re
import threading
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote

import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from prometheus_client.parser import text_string_to_metric_families

from probe.cli import outputs as cli
from probe.cli import pushing
from probe.cli.ordering import _of_the_run as of_the_run
from probe.errors import ConfigError
from probe.report.export.metrics import metrics_of
from probe.report.export.prometheus import exposition
from tests.servers import free_port
from tests.test_report_judgements import HOSTILE, JUDGEMENTS

PASSED, FAILED = JUDGEMENTS["pass"], JUDGEMENTS["hostile"]
SECRET = "Bearer push-secret-4711"


@dataclass
class Receiver:
    """What came, and what is answered; `status` 0 for never."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    got: list[tuple[str, str, dict[str, str], bytes]] = field(default_factory=list)
    address: str = ""
    drips: bool = False
    over: threading.Event = field(default_factory=threading.Event)


@contextlib.contextmanager
def receiving(**how):
    told = Receiver(**how)

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_PUT(self):
            data = self.rfile.read(int(self.headers["Content-Length"]))
            told.got.append((self.command, self.path, dict(self.headers), data))
            if not told.status:
                told.over.wait(20)
                return
            if told.drips:
                self.wfile.write(b"HTTP/1.1 400 No\r\nContent-Length: 999\r\n\r\n")
                with contextlib.suppress(OSError):
                    while not told.over.wait(0.2):
                        self.wfile.write(b".")
                return
            self.send_response(told.status)
            for name, value in told.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(told.body)))
            self.end_headers()
            self.wfile.write(told.body)

        def do_POST(self):
            self.do_PUT()

        def log_message(self, *words):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    told.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield told
    finally:
        told.over.set()
        server.shutdown()
        server.server_close()
        thread.join(10)


@pytest.fixture(autouse=True)
def _alone(monkeypatch, tmp_path):
    for name in list(os.environ):
        if name.lower().endswith("_proxy") or name.startswith(("OTEL_", "PROBE_")):
            monkeypatch.delenv(name)
    monkeypatch.setattr(pushing, "DEADLINE_S", 1.5)
    monkeypatch.setattr(pushing, "SPARE_S", 1.0)
    monkeypatch.chdir(tmp_path)


def send(form, address, judgement=PASSED):
    chosen = cli.outputs([f"{form}={address}"], "--to", stdout=True)
    return cli.deliver(chosen, judgement, Path("nowhere"))


def test_a_pushgateway_gets_the_text_under_its_group(monkeypatch):
    monkeypatch.setenv(cli.AUTHORIZATION, SECRET)
    with receiving() as told:
        assert send("prometheus", f"{told.address}/") == []
    ((method, path, headers, data),) = told.got
    assert (method, path) == ("PUT", "/metrics/job/probe/scenario/cold_start/target/lab")
    assert headers["Content-Type"].startswith("text/plain; version=0.0.4")
    assert headers["Authorization"] == SECRET
    assert data == exposition(metrics_of(PASSED))
    assert list(text_string_to_metric_families(data.decode()))


def test_a_name_with_a_slash_or_none_goes_in_base64():
    group = {"job": "a/b", "target": "", "scenario": "ü %"}
    assert pushing.grouping(group) == "/job@base64/YS9i/target@base64/=/scenario/%C3%BC%20%25"


def test_a_group_with_hostile_names_is_one_path():
    with receiving() as told:
        assert send("prometheus", told.address, FAILED) == []
    path = told.got[0][1]
    assert re.fullmatch(r"[!-~]+", path)
    assert "`c`" in unquote(path) or "@base64" in path


@pytest.mark.parametrize("form", ["prometheus", "otlp"])
@pytest.mark.parametrize(
    ("how", "words"),
    [
        ({"status": 400, "body": f"no\n{HOSTILE}".encode("utf-8", "replace")}, "400"),
        ({"status": 302, "headers": {"Location": "http://127.0.0.1:9/"}}, "302"),
        ({"status": 0}, ""),
        ({"drips": True}, ""),
        (None, ""),
    ],
)
def test_a_push_that_fails_is_told_and_nothing_else_comes_of_it(form, how, words, monkeypatch):
    monkeypatch.setenv(cli.AUTHORIZATION, SECRET)
    with receiving(**how) if how else contextlib.nullcontext() as told:
        address = told.address if told else f"http://127.0.0.1:{free_port()}"
        (line,) = send(form, address)
    assert line.startswith(f"not exported to {form}={address}: ")
    assert words in line
    assert not re.search(r"[\x00-\x1f\x7f-\x9f\u202e]", line)
    assert SECRET not in line


def test_a_collector_gets_the_same_as_protobuf():
    with receiving() as told:
        assert send("otlp", told.address) == []
    ((method, path, headers, data),) = told.got
    assert (method, path) == ("POST", "/v1/metrics")
    if headers.get("Content-Encoding") == "gzip":
        data = gzip.decompress(data)
    request = ExportMetricsServiceRequest.FromString(data)
    (resource,) = request.resource_metrics
    about = {each.key: each.value.string_value for each in resource.resource.attributes}
    assert about["service.name"] == "probe"
    assert about["service.instance.id"] == PASSED.run["run_id"]
    (scope,) = resource.scope_metrics
    got = [
        (metric.name, {a.key: a.value.string_value for a in point.attributes}, point.as_double)
        for metric in scope.metrics
        for point in metric.gauge.data_points
    ]
    samples = metrics_of(PASSED)
    assert got == [(s.family.name, s.labels, s.value) for s in samples]
    units = {metric.name: metric.unit for metric in scope.metrics}
    assert units["probe_latency_seconds"] == "s"
    assert units["probe_check_ratio"] == "1"
    stamps = {p.time_unix_nano for m in scope.metrics for p in m.gauge.data_points}
    # 2025-09-11T10:15:00Z and 46.213 s.
    assert stamps == {(1_757_585_700_000 + 46_213) * 1_000_000}


def test_a_collector_may_be_named_by_the_variables_of_opentelemetry(monkeypatch):
    with receiving() as told:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", told.address)
        assert cli.deliver(cli.outputs(["otlp"], "--to", stdout=True), PASSED, Path()) == []
    assert told.got[0][1] == "/v1/metrics"


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["csvv=x"], "no such form"),
        (["csv=http://127.0.0.1:1"], "written to a file"),
        (["prometheus=http://u:geheim@h:1"], "no user"),
        (["prometheus=http://h:1/?token=geheim"], "no user, no query"),
        (["prometheus=http://"], "no address"),
        (["otlp"], "otlp=http://HOST:4318"),
        (["otlp=somewhere"], "no address"),
        (["csv=no/such/folder/x"], "directory is not there"),
        (["csv=."], "is a directory"),
        (["csv", "jsonl"], "only one"),
        (["parquet="], ""),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_opened(words, why):
    if words == ["parquet="]:
        assert cli.outputs(words, "--to", stdout=True)  # pytest's stdout is no terminal
        with pytest.raises(ConfigError, match="where to"):
            cli.outputs(words, "--export", stdout=False)
        return
    with pytest.raises(ConfigError, match=why) as told:
        cli.outputs(words, "--to", stdout=True)
    assert "geheim" not in str(told.value)


def test_without_the_extra_it_says_which(monkeypatch):
    monkeypatch.setattr(cli, "find_spec", lambda _: None)
    for form, extra in (("parquet=x", "parquet"), ("otlp=http://h:1", "otel")):
        with pytest.raises(ConfigError, match=re.escape(f"pip install -e '.[{extra}]'")):
            cli.outputs([form], "--to", stdout=True)


def test_a_file_is_replaced_at_once_and_is_for_everybody(tmp_path):
    path = tmp_path / "probe.prom"
    path.write_text("old")
    assert send("prometheus", path) == []
    assert path.read_bytes() == exposition(metrics_of(PASSED))
    assert path.stat().st_mode & 0o777 == 0o644
    assert [each.name for each in tmp_path.iterdir()] == ["probe.prom"]


def test_whatever_goes_wrong_is_told_and_raises_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(cli, "metrics_of", lambda _: 1 / 0)
    (line,) = send("prometheus", tmp_path / "x.prom")
    assert line.endswith("an error of the probe's own, ZeroDivisionError: division by zero")
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_cannot_be_written_is_told(tmp_path):
    path = tmp_path / "gone" / "probe.prom"
    path.parent.mkdir()
    chosen = cli.outputs([f"prometheus={path}"], "--export", stdout=False)
    path.parent.rmdir()
    (line,) = cli.deliver(chosen, PASSED, tmp_path)
    assert line == f"not exported to prometheus={path}: No such file or directory"


@pytest.mark.parametrize(
    "words",
    [
        ["--export", "csv=x"],
        ["--export=csv=x", "--export", "otlp=http://h:1"],
        ["--dashboard", "9481"],
        ["--dashboard=9481", "--json"],
        ["--dashboard"],
        [],
    ],
)
def test_whoever_runs_it_again_neither_exports_nor_shows_it_again(words):
    asked = ["smoke", "--seed", "7"]
    assert of_the_run([*asked, *words]) == asked
    assert of_the_run([*words, *asked]) == asked


# -- a real run ---------------------------------------------------------------------------

SMALL = """
title = "Small"
target = "lab"
[stages.all]
expect.success = { rate = "1%" }
[stages.all.populations.clients]
shape = { rate = "20/s", lasts = "500ms", arrivals = "even" }
"""


def test_a_run_is_exported_and_a_dead_receiver_changes_no_verdict(probe):
    (probe.cwd / "scenarios").mkdir()
    (probe.cwd / "scenarios" / "small.toml").write_text(SMALL)
    dead = f"http://127.0.0.1:{free_port()}"
    with receiving() as told:
        done = probe.run(
            "small", "--export", "csv=sessions.csv", "--export", f"prometheus={told.address}",
            "--export", f"prometheus={dead}", "--seed", "7",
        )  # fmt: skip
    verdict = done.verdict
    assert done.code == verdict["exit_code"]
    assert f"probe: not exported to prometheus={dead}: " in done.err
    assert told.got[0][1] == "/metrics/job/probe/scenario/small/target/lab"
    assert f'verdict="{verdict["verdict"]}"}} 1' in told.got[0][3].decode()
    rows = (probe.cwd / "sessions.csv").read_text().splitlines()
    assert len(rows) == 1 + 10
    # Whoever runs it again is not to write over what was exported.
    meta = json.loads((done.folder / "history" / "meta.json").read_text())
    assert "--export" not in meta["again"]
    assert "--seed 7" in meta["again"]
    again = probe.inside("export", str(done.folder), "--to", "csv")
    assert again.code == 0, again.told
    assert again.out.splitlines() == rows
    failed = probe.inside("export", str(done.folder), "--to", f"prometheus={dead}")
    assert (failed.code, failed.out) == (1, "")
    assert "not exported" in failed.err
