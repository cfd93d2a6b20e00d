"""The page in a real browser: nothing of a server runs, nothing is asked for, all is reached."""

import json
from itertools import pairwise

import pytest

from probe.report.page.document import page
from tests.browser import Browser
from tests.test_check_race import found, judged
from tests.test_report_page import HOSTILE, NASTY, booted, hostile, recorded

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    opened = Browser(tmp_path_factory.mktemp("browser"))
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pages")
    made = {
        "hostile": page(hostile(), None),
        "busy": page(*recorded(booted())),
        "race": page(judged(found())[1], None),
    }
    for name, raw in made.items():
        (folder / f"{name}.html").write_bytes(raw)
    return folder


def test_a_hostile_server_is_shown_and_nothing_else(browser, pages):
    path = pages / "hostile.html"
    browser.open(path)
    browser.value("document.querySelectorAll('details').forEach(each => { each.open = true; })")
    assert browser.value("typeof window.pwned") == "undefined"
    assert browser.value("document.querySelectorAll('img, iframe, object, embed').length") == 0
    assert browser.value("document.scripts.length") == 5
    shown = browser.value("document.querySelector('main').textContent")
    for text in NASTY[:6]:
        assert text in shown
    assert "\\u202e\\x00\\x1b[31m\\ud800" in shown
    assert browser.requests == [path.as_uri()]
    assert browser.errors == []


def test_the_policy_holds_where_escaping_would_not(browser, tmp_path):
    """The second line of defence, by itself: a script that got in all the same does not run."""
    raw = page(hostile(), None)
    leak = b"<script>window.pwned=1</script><img src='http://127.0.0.1:9/x'></body>"
    path = tmp_path / "leak.html"
    path.write_bytes(raw.replace(b"</body>", leak))
    browser.open(path)
    assert browser.value("typeof window.pwned") == "undefined"
    assert any("Content Security Policy" in error for error in browser.errors)


@pytest.mark.parametrize("name", ["hostile", "busy", "race"])
@pytest.mark.parametrize(("width", "scheme"), [(390, "dark"), (1280, "light")])
def test_it_fits_its_window_without_an_error_or_a_request(browser, pages, name, width, scheme):
    path = pages / f"{name}.html"
    browser.open(path, width=width, scheme=scheme)
    wide = browser.value("document.documentElement.scrollWidth")
    assert wide <= browser.value("innerWidth")
    assert browser.errors == []
    assert browser.requests == [path.as_uri()]
    paper = browser.value("getComputedStyle(document.body).backgroundColor")
    assert paper == ("rgb(255, 255, 255)" if scheme == "light" else "rgb(20, 23, 27)")
    drawn = browser.value(
        "[...document.querySelectorAll('.drawing')].every(e => e.children.length)"
    )
    assert drawn


def test_every_figure_has_a_table_and_everything_can_be_reached_by_keyboard(browser, pages):
    browser.open(pages / "busy.html")
    figures = browser.value("document.querySelectorAll('figure').length")
    assert figures >= 4
    assert browser.value("document.querySelectorAll('figure details table').length") == figures
    unnamed = browser.value(
        "[...document.querySelectorAll('figure svg[role=img], [role=region], [role=group]')]"
        ".filter(e => !e.getAttribute('aria-label')).length"
    )
    assert unnamed == 0
    levels = browser.value("[...document.querySelectorAll('h1,h2,h3,h4')].map(e => +e.tagName[1])")
    assert levels[0] == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))


def test_the_timeline_zooms_and_tells_values_by_keyboard(browser, pages):
    browser.open(pages / "busy.html")
    state = "drawings.find(each => each.block.draw === 'timeline')"
    whole = browser.value(f"{state}.state.zoom")
    press = (
        f"{state}.element.focus(), ['+', '+', 'ArrowRight', 'ArrowRight'].forEach(key => "
        f"{state}.element.dispatchEvent(new KeyboardEvent('keydown', {{ key, bubbles: true }})))"
    )
    browser.value(press)
    near = browser.value(f"{state}.state.zoom")
    assert near[1] - near[0] == pytest.approx((whole[1] - whole[0]) / 4)
    told = browser.value(
        "new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => "
        f"done({state}.element.querySelector('[role=status]').textContent))))"
    )
    assert any(sign.isdigit() for sign in told)
    browser.value("[...document.querySelectorAll('.tools button')].at(-1).click()")
    assert browser.value(f"{state}.state.zoom") == whole
    assert browser.errors == []


def test_at_rest_a_figure_has_keys_and_no_values_and_under_the_pointer_both(browser, pages):
    browser.open(pages / "busy.html")
    values = "[...document.querySelectorAll('.keys b, .keys .where')].map(e => e.textContent)"
    assert set(browser.value(values)) == {""}
    assert ":" not in browser.value("document.querySelector('.keys').textContent")
    place = json.loads(browser.value(
        "(box => JSON.stringify([box.x + box.width / 2, box.y + box.height / 2]))"
        "((over => { over.scrollIntoView({ block: 'center', behavior: 'instant' }); return over; })"
        "(document.querySelector('.u-over')).getBoundingClientRect())"
    ))  # fmt: skip
    for dx in (0, 3):
        browser.call("Input.dispatchMouseEvent", type="mouseMoved", x=place[0] + dx, y=place[1])
    shown = browser.value(
        "new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => "
        f"done({values}))))"
    )
    assert any(text.startswith("at ") for text in shown)
    assert sum(text.replace(",", "").replace(".", "").isdigit() for text in shown) >= 4


def test_the_first_link_leads_to_what_was_found(browser, pages):
    browser.open(pages / "race.html")
    links = browser.value(
        "[...document.querySelectorAll('nav a, .skip')].map(e => [e.textContent, e.hash])"
    )
    assert links[0] == ["Skip to: What was found", "#found"]
    assert links[1] == ["What was found", "#found"]
    assert browser.value(
        "[...document.querySelectorAll('nav a')].every(e => document.querySelector(e.hash))"
    )
    assert browser.value("document.querySelectorAll('#races figure svg[role=img]').length") == 2


def test_only_what_can_be_scrolled_is_a_stop_of_the_tab_key(browser, pages):
    browser.open(pages / "busy.html", width=390)
    browser.value("document.querySelectorAll('details').forEach(each => { each.open = true; })")
    browser.value(
        "new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => "
        "requestAnimationFrame(done))))"
    )
    odd = browser.value(
        "[...document.querySelectorAll('.scroll')].filter("
        "e => (e.scrollWidth > e.clientWidth + 1) !== (e.tabIndex === 0)).length"
    )
    assert odd == 0
    assert browser.value("document.querySelectorAll('.scroll[tabindex]').length") > 0


@pytest.mark.parametrize("name", ["hostile", "busy", "race"])
def test_it_can_be_read_in_forced_colours(browser, pages, name):
    browser.open(pages / f"{name}.html")
    features = [{"name": "forced-colors", "value": "active"}]
    browser.call("Emulation.setEmulatedMedia", media="", features=features)
    chips = browser.value(
        "[...document.querySelectorAll('.chip')].every("
        "e => getComputedStyle(e).borderTopStyle === 'solid')"
    )
    assert chips


def test_it_is_drawn_anew_in_light_colours_for_paper(browser, pages):
    browser.open(pages / "busy.html", scheme="dark")
    assert json.loads(browser.value("JSON.stringify(colour('paper'))")) == "#14171b"
    browser.value("dispatchEvent(new Event('beforeprint'))")
    assert browser.value("colour('paper')") == "#ffffff"
    browser.value("dispatchEvent(new Event('afterprint'))")
    assert browser.value("colour('paper')") == "#14171b"


def test_a_title_is_text_too(browser, pages):
    browser.open(pages / "hostile.html")
    assert "<img src=x" in browser.value("document.title")
    assert HOSTILE[:20] in browser.value("document.title")
