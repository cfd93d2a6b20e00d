"""A real browser without a window, driven over its own debugging protocol on loopback."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any
from urllib.request import urlopen

import pytest
from websockets.sync.client import ClientConnection, connect

if TYPE_CHECKING:
    from pathlib import Path

PROGRAM = shutil.which("chromium") or shutil.which("chromium-browser")
OPTIONS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--remote-debugging-port=0",
)  # fmt: skip
START_S, ANSWER_S, LOAD_S = 60.0, 60.0, 60.0


def program() -> str:
    """The browser; where there is none the test is skipped by name."""
    if PROGRAM is None:
        pytest.skip("no chromium here: pages are not tried in a real browser")
    return PROGRAM


class Browser:
    """One browser with one tab. `errors` and `requests` are since the last page was opened."""

    def __init__(self, folder: Path) -> None:
        self.errors: list[str] = []
        self.requests: list[str] = []
        self.number = 0
        self.held = ExitStack()
        self.process = subprocess.Popen(
            [program(), *OPTIONS, f"--user-data-dir={folder}", "about:blank"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            self.tab = self._attached(folder / "DevToolsActivePort")
            for domain in ("Page", "Runtime", "Network", "Log"):
                self.call(f"{domain}.enable")
        except BaseException:
            self.close()
            raise

    def _attached(self, told: Path) -> ClientConnection:
        deadline = time.monotonic() + START_S
        while not (told.exists() and told.read_text()):
            assert time.monotonic() < deadline, "the browser did not start"
            time.sleep(0.05)
        port = int(told.read_text().split()[0])
        with urlopen(f"http://127.0.0.1:{port}/json", timeout=ANSWER_S) as answer:
            tabs = json.load(answer)
        url = next(tab["webSocketDebuggerUrl"] for tab in tabs if tab["type"] == "page")
        opened = connect(url, max_size=None, open_timeout=ANSWER_S, close_timeout=1)
        return self.held.enter_context(opened)

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """One command; what happens meanwhile is noted."""
        self.number += 1
        self.tab.send(json.dumps({"id": self.number, "method": method, "params": parameters}))
        while True:
            told = json.loads(self.tab.recv(timeout=ANSWER_S))
            if told.get("id") == self.number:
                assert "error" not in told, told
                result: dict[str, Any] = told["result"]
                return result
            self._note(told)

    def _note(self, told: dict[str, Any]) -> None:
        about = told.get("params", {})
        match told.get("method"):
            case "Network.requestWillBeSent":
                self.requests.append(about["request"]["url"])
            case "Runtime.exceptionThrown" | "Runtime.consoleAPICalled":
                self.errors.append(json.dumps(about)[:2000])
            case "Log.entryAdded":
                self.errors.append(about["entry"]["text"])

    def open(self, path: Path, *, width: int = 1280, scheme: str = "light") -> None:
        """Open a file from disk and wait until it is drawn."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=900,
                  deviceScaleFactor=1, mobile=width < 500)  # fmt: skip
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.call("Emulation.setEmulatedMedia", media="", features=features)
        self.errors.clear()
        self.requests.clear()
        self.call("Page.navigate", url=path.as_uri())
        deadline = time.monotonic() + LOAD_S
        while self.value("document.readyState") != "complete":
            assert time.monotonic() < deadline, "the page did not load"
            time.sleep(0.05)

    def value(self, expression: str) -> Any:
        """What an expression gives in the page, also if it is a promise."""
        told = self.call("Runtime.evaluate", expression=expression, returnByValue=True,
                         awaitPromise=True)  # fmt: skip
        assert "exceptionDetails" not in told, told
        return told["result"].get("value")

    def close(self) -> None:
        """End the browser that was started here."""
        self.held.close()
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(20)
