"""The live page in a real browser: it shows what it is told as text, and its button stops."""

import asyncio
import json
import threading
import time
from contextlib import contextmanager

import pytest

from probe.dashboard.door import open_door
from probe.dashboard.server import Server
from tests.browser import Browser
from tests.dashboard_views import HOSTILE, view

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    opened = Browser(tmp_path_factory.mktemp("browser"))
    yield opened
    opened.close()


class Live:
    """A server in a loop of its own thread; `put` may be called from here."""

    def __init__(self, loop, door):
        self.loop = loop
        self.door = door
        self.stopped = threading.Event()
        self.server = Server(door.sock, door.token, self.stopped.set)

    def put(self, shown, *, last=False):
        self.loop.call_soon_threadsafe(lambda: self.server.put(shown, last=last))


@contextmanager
def live():
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    found = Live(loop, open_door(0))
    try:
        asyncio.run_coroutine_threadsafe(found.server.start(), loop).result(20)
        yield found
    finally:
        asyncio.run_coroutine_threadsafe(found.server.end(), loop).result(20)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(20)
        loop.close()


def go(browser, url, *, width=1280, scheme="light"):
    browser.call("Emulation.setDeviceMetricsOverride", width=width, height=900,
                 deviceScaleFactor=1, mobile=width < 500)  # fmt: skip
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.call("Emulation.setEmulatedMedia", media="", features=features)
    browser.call("Page.navigate", url="about:blank")
    browser.errors.clear()
    browser.requests.clear()
    browser.call("Page.navigate", url=url)


def until(browser, expression):
    deadline = time.monotonic() + 30
    while not (found := browser.value(expression)):
        assert time.monotonic() < deadline, expression
        time.sleep(0.05)
    return found


SHOWN = "document.querySelector('main')?.textContent.includes('closed 1011 when ready')"
TEXT = "document.body.textContent"


@pytest.mark.parametrize(("width", "scheme"), [(390, "dark"), (1280, "light")])
def test_it_shows_what_it_is_told_as_text_and_fits_its_window(browser, width, scheme):
    with live() as found:
        found.put(view(title=HOSTILE, fit="unfit", reasons=(HOSTILE,)))
        go(browser, found.door.url_with_key, width=width, scheme=scheme)
        until(browser, SHOWN)
        assert browser.value("typeof window.pwned") == "undefined"
        assert browser.value("document.querySelectorAll('img, iframe, object').length") == 0
        assert HOSTILE in browser.value(TEXT)
        assert browser.value("document.documentElement.scrollWidth") <= width
        assert browser.value("document.querySelector('.light').textContent") == "machine: UNFIT"
        paper = browser.value("getComputedStyle(document.body).backgroundColor")
        assert paper == ("rgb(255, 255, 255)" if scheme == "light" else "rgb(20, 23, 27)")
        found.put(view(elapsed="13 s"))
        until(browser, f"{TEXT}.includes('13 s gone')")
        assert browser.errors == []
        assert {each.partition(":")[0] for each in browser.requests} == {"http"}
        assert all(each.startswith(found.door.url) for each in browser.requests)


def test_the_key_leaves_the_address_bar_and_stops_the_run_at_the_second_press(browser):
    with live() as found:
        found.put(view())
        go(browser, found.door.url_with_key)
        until(browser, SHOWN)
        assert browser.value("location.href") == found.door.url
        assert found.door.token not in browser.value("document.documentElement.outerHTML")
        browser.value("document.querySelector('button.stop').click()")
        assert not found.stopped.wait(0.3)
        browser.value("document.querySelector('button.stop').click()")
        assert found.stopped.wait(20)
        found.put(view(state="stopping"))
        until(browser, f"{TEXT}.includes('Stopping: sessions end')")
        found.put(
            view(state="judged", verdict="FAIL", headline="FAIL (embedded lab)", ended="complete",
                 why=("a reason",)), last=True,
        )  # fmt: skip
        until(browser, "!document.querySelector('.why').hidden")
        told = json.loads(browser.value("JSON.stringify(document.querySelector('.why').innerText)"))
        assert "FAIL (embedded lab)" in browser.value("document.querySelector('h1').textContent")
        for words in ("Why", "a reason", "/results/r-1/report.html"):
            assert words in told
        assert browser.value("document.querySelector('button.stop').hidden")
    assert browser.errors == []


def test_without_the_key_it_is_only_to_look_at_until_the_address_is_opened(browser):
    with live() as found:
        found.put(view())
        go(browser, found.door.url)
        until(browser, SHOWN)
        assert browser.value("document.querySelector('button.stop').hidden")
        assert "Only to look at" in browser.value(TEXT)
        browser.call("Page.navigate", url=found.door.url_with_key)
        until(browser, "!document.querySelector('button.stop').hidden")
        assert browser.value("location.hash") == ""


def test_a_probe_that_is_gone_is_told(browser):
    with live() as found:
        found.put(view())
        go(browser, found.door.url)
        until(browser, SHOWN)
    until(browser, "!document.querySelector('.gone').hidden")
    assert "the last that was heard" in browser.value(TEXT)
