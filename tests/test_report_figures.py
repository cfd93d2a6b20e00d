"""Numbers and untrusted text before they reach a page."""

import math
from decimal import ROUND_CEILING, ROUND_FLOOR

import pytest
from hypothesis import given
from hypothesis import strategies as st

from probe.report import figures
from probe.report.markup import escaped, fenced, line
from probe.report.views import rows
from probe.report.visible import encodable, visible


@pytest.mark.parametrize(
    ("rate", "text"),
    [
        (0.0, "0 %"),
        (1.0, "100 %"),
        (0.5, "50 %"),
        (0.86089, "86.1 %"),
        (0.9972, "99.72 %"),
        (0.999999, "99.9999 %"),
        (0.00246, "0.25 %"),
        (1e-7, "0.00001 %"),
        (None, "-"),
        (math.nan, "-"),
    ],
)
def test_percent(rate, text):
    assert figures.percent(rate) == text


def test_bounds_are_rounded_away_from_the_estimate():
    assert figures.percent(0.86089, ROUND_FLOOR) == "86 %"
    assert figures.percent(0.86011, ROUND_CEILING) == "86.1 %"
    assert figures.interval((0.86089, 0.99999), "rate") == "[86 %, 99.999 %]"
    assert figures.cell("low", 0.86089) == "86 %"
    assert figures.cell("rate_high", 0.86011) == "86.1 %"


@given(st.floats(0, 1, exclude_min=True, exclude_max=True), st.sampled_from(["FLOOR", "CEILING"]))
def test_a_part_is_never_the_whole_or_nothing(rate, rounding):
    rounded = figures.percent(rate, f"ROUND_{rounding}")
    assert rounded not in {"0 %", "100 %"} or min(rate, 1 - rate) < 1e-9
    value = float(rounded.removesuffix(" %")) / 100
    slack = 1e-12
    assert value <= rate + slack if rounding == "FLOOR" else value >= rate - slack


@pytest.mark.parametrize(
    ("key", "value", "text"),
    [
        ("first_good_session_s", 1.8432, "1.84 s"),
        ("first_good_session_s", None, "-"),
        ("first_good_session_s", math.inf, "-"),
        ("from_s", 0.0, "0 s"),
        ("gap_s", (0.39, 0.41), "[390 ms, 410 ms]"),
        ("gap_s", (0.39, None), "[390 ms, no bound]"),
        ("attempts", 12345, "12,345"),
        ("lag_p99_ms", 1.25, "1.25 ms"),
        ("memory_peak_mib", 58.25, "58.2 MiB"),
        ("attempts", [1, 2, 3], "1, 2, 3"),
        ("complete", False, "no"),
        ("tls", "", "-"),
        ("peers.0.port", 34919, "34919"),
        ("p99", {"missing": "needs 368, has 75"}, "needs 368, has 75"),
        ("p50", {"estimate_s": 1.0, "low_s": 0.5, "high_s": None}, "1 s [500 ms, no bound]"),
        ("p50", {"estimate_s": "more than 10 s", "low_s": 2.0, "high_s": "failed"},
         "more than 10 s [2 s, failed]"),
        ("p50", {"estimate_s": None, "low_s": None, "high_s": None}, "-"),
        ("outcomes", {"not_http": 2, "reset": 1}, "not http 2, reset 1"),
    ],
)  # fmt: skip
def test_cells(key, value, text):
    assert figures.cell(key, value) == text


def test_amounts_and_offsets():
    assert figures.amount(3.0, "count") == "3"
    assert figures.amount(2.5, "events/s") == "2.5 events/s"
    assert figures.cell("rate_per_s", 122.0) == "122/s"
    assert figures.words("rate_per_s") == "rate"
    assert figures.amount(math.inf, "s") == "-"
    assert figures.interval(None) == "-"
    assert figures.offset(0.0) == "+0.0 ms"
    assert figures.offset(12.3456) == "+12,345.6 ms"
    assert figures.offset(-0.001) == "-1.0 ms"


def test_keys_as_headings():
    assert figures.words("first_good_session_s") == "first good session"
    assert figures.words("lag_p99_ms") == "lag p99"
    assert figures.words("rate") == "rate"
    assert figures.words("s") == "s"


def test_rows_of_any_depth():
    leaf = {"n": 3, "p50": {"missing": "needs 72, has 3"}}
    row = {"phase": "tcp", **leaf}
    labels = ("stage", "phase")
    assert rows({"boot": {"tcp": leaf}}, labels) == [{"stage": "boot", **row}]
    assert rows({"tcp": leaf}, labels) == [row]
    assert rows({"boot": [leaf, leaf]}, ("stage",)) == [{"stage": "boot", **leaf}] * 2
    assert rows([leaf], labels) == [leaf]
    assert rows({"ladder_s": [0.1, 0.2], "n": 3}, labels) == [{"ladder_s": [0.1, 0.2], "n": 3}]
    assert rows({"p50": {"missing": "x"}}, labels) == [{"p50": {"missing": "x"}}]
    assert rows(None) == rows({}) == rows([]) == rows("text") == []


@given(st.text())
def test_visible_text_is_one_printable_line(text):
    shown = visible(text)
    assert not set(shown) & {"\n", "\r", "\x1b", "\u2028", "\u202e"}
    shown.encode()  # no lone surrogate is left
    assert visible(text, ascii_only=True).isascii()
    assert visible(shown) == shown


def test_visible_spells_and_cuts():
    assert visible("a\tb\n\x1b\u202e\udcff\U000e0001") == r"a\tb\n\x1b\u202e\xff\U000e0001"
    assert visible("\u00fc", ascii_only=True) == r"\xfc"
    assert visible("x" * 12, chars_max=10) == "x" * 10 + "... (2 more characters)"
    assert encodable("a\ud800\n") == "a\\ud800\n"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a|b", r"a\|b"),
        ("a\\|b", r"a\\\|b"),
        ("`x`", r"\`x\`"),
        ("<b>&amp;", "&lt;b>&amp;amp;"),
        ("[a](b)", r"[a\](b)"),
        ("[a]: b", r"[a\]: b"),
        ("[34 %, 74 %]", "[34 %, 74 %]"),
        ("cold_start _x_", r"cold_start \_x\_"),
        ("x\n# y", r"x\\n\# y"),
    ],
)
def test_markdown_escapes(text, shown):
    assert escaped(text) == shown


@pytest.mark.parametrize("text", ["- x", "+ x", "> x", "1. x", "12) x", "=== x", "[a]"])
def test_no_line_opens_a_block(text):
    at = len(text) - len(text.lstrip("0123456789"))
    assert line(text) == f"{text[:at]}\\{text[at:]}"
    assert line(f"x {text}") == f"x {text}"
    assert line("1.5 s") == "1.5 s"


@pytest.mark.parametrize("ticks", [0, 1, 3, 4, 9])
def test_a_fence_is_longer_than_what_it_holds(ticks):
    opening, held, closing = fenced(["`" * ticks]).split("\n")
    assert held == "`" * ticks
    assert len(closing) == max(3, ticks + 1)
    assert opening == f"{closing}text"
