"""Units: every accepted form, every refusal, and exact round trips."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from probe import units


@pytest.mark.parametrize(
    ("text", "ns"),
    [
        ("0", 0),
        (0, 0),
        ("0s", 0),
        ("37ns", 37),
        ("37us", 37_000),
        ("37\u00b5s", 37_000),
        ("37\u03bcs", 37_000),
        ("250ms", 250_000_000),
        (" 250 ms ", 250_000_000),
        ("0.5s", 500_000_000),
        ("0.1s", 100_000_000),
        ("2m", 120_000_000_000),
        ("2min", 120_000_000_000),
        ("1m30s", 90_000_000_000),
        ("1 min 30 s", 90_000_000_000),
        ("1h1m1s1ms1us1ns", 3_661_001_001_001),
        ("9223372036854775807ns", 2**63 - 1),
    ],
)
def test_durations(text, ns):
    assert units.duration_ns(text) == ns


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("5", "a duration needs a unit: '5s'"),
        (5, "a duration needs a unit: '5s'"),
        (0.5, "a duration needs a unit: '0.5s'"),
        ("-5", "a duration needs a unit: '5s'"),
        ("", "not a duration"),
        ("-5s", "not a duration"),
        ("5 parsecs", "not a duration"),
        ("5S", "not a duration"),
        ("1e3s", "not a duration"),
        ("1,5s", "not a duration"),
        (".5s", "not a duration"),
        ("\u0665s", "not a duration"),
        ("nans", "not a duration"),
        (math.nan, "not a duration"),
        (math.inf, "not a duration"),
        (10**400, "not a duration"),
        (True, "not a duration"),
        (None, "not a duration"),
        ("30s1m", "units must shrink"),
        ("1s1s", "units must shrink"),
        ("1m1min", "units must shrink"),
        ("0.5ns", "not a whole number of nanoseconds"),
        ("300000000h", "more than"),
        ("1" * 65 + "s", "a duration has at most 64 characters"),
    ],
)
def test_durations_refused(text, why):
    with pytest.raises(ValueError, match=r"found .*; allowed: .*such as '250ms'") as caught:
        units.duration_ns(text)
    assert str(caught.value).startswith(why)
    assert len(str(caught.value)) < 300


@given(st.integers(0, 2**63 - 1))
def test_canonical_duration_round_trips(ns):
    assert units.duration_ns(units.canonical_duration(ns)) == ns


@pytest.mark.parametrize(
    ("ns", "text"),
    [
        (0, "0s"),
        (250_000_000, "250ms"),
        (1_500_000_000, "1500ms"),
        (90_000_000_000, "90s"),
        (60_000_000_000, "1m"),
        (7_200_000_000_000, "2h"),
        (1_001, "1001ns"),
    ],
)
def test_canonical_duration(ns, text):
    assert units.canonical_duration(ns) == text


@pytest.mark.parametrize("ns", [-1, 2**63])
def test_canonical_duration_refuses_what_no_text_says(ns):
    with pytest.raises(ValueError, match="no duration"):
        units.canonical_duration(ns)


@pytest.mark.parametrize(
    ("ns", "text"),
    [
        (0, "0 ns"),
        (37_000, "37 us"),
        (250_000_000, "250 ms"),
        (1_837_000_000, "1.84 s"),
        (999_900, "1 ms"),
        (999_400, "999 us"),
        (59_940_000_000, "59.9 s"),
        (59_960_000_000, "1 min"),
        (125_000_000_000, "2 min 5 s"),
        (3_599_600_000_000, "1 h"),
        (3_780_000_000_000, "1 h 3 min"),
        (-1_837_000_000, "-1.84 s"),
        (-125_000_000_000, "-2 min 5 s"),
        (1234.5, "1.23 us"),
    ],
)
def test_format_duration(ns, text):
    assert units.format_duration(ns) == text


@pytest.mark.parametrize("ns", [math.nan, math.inf])
def test_format_duration_refuses_what_is_no_number(ns):
    with pytest.raises(ValueError, match="no duration"):
        units.format_duration(ns)


@given(st.integers(0, 10**17))
def test_format_duration_is_within_its_rounding(ns):
    back = units.duration_ns(units.format_duration(ns))
    assert abs(back - ns) <= 0.01 * ns


@pytest.mark.parametrize(
    ("text", "hz"),
    [("5/s", 5.0), ("300/min", 5.0), ("300/m", 5.0), ("0.5 / s", 0.5), ("1000/h", 1000 / 3600)],
)
def test_rates(text, hz):
    assert units.rate_hz(text) == hz
    assert units.rate_hz("0") == units.rate_hz(0) == units.rate_hz("0/s") == 0.0


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("5", "a rate needs a unit: '5/s'"),
        (5, "a rate needs a unit: '5/s'"),
        ("5/day", "not a rate"),
        ("5/ms", "not a rate"),
        ("-5/s", "not a rate"),
        ("/s", "not a rate"),
        ("2000000000/s", "a rate is 0 or"),
        ("0.000000000001/s", "a rate is 0 or"),
        ("9" * 65 + "/s", "a rate has at most"),
    ],
)
def test_rates_refused(text, why):
    with pytest.raises(ValueError, match=r"found .*; allowed: .*such as '5/s'") as caught:
        units.rate_hz(text)
    assert str(caught.value).startswith(why)


@given(st.one_of(st.just(0.0), st.floats(1e-9, 1e9)))
def test_canonical_rate_round_trips(hz):
    assert units.rate_hz(units.canonical_rate(hz)) == hz


@given(st.integers(1, 10**6), st.sampled_from(["s", "min", "h"]))
def test_canonical_rate_is_short_for_what_people_write(number, unit):
    hz = units.rate_hz(f"{number}/{unit}")
    assert len(units.canonical_rate(hz)) <= len(f"{number}/min") + 3


@pytest.mark.parametrize(("hz", "text"), [(5, "5/s"), (0, "0/s"), (1000 / 3600, "1000/h")])
def test_canonical_rate(hz, text):
    assert units.canonical_rate(hz) == text


@pytest.mark.parametrize("hz", [-1.0, math.nan, math.inf])
def test_canonical_rate_refused(hz):
    with pytest.raises(ValueError, match="a rate is 0 or"):
        units.canonical_rate(hz)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("512B", 512),
        ("1KB", 1000),
        ("1kB", 1000),
        ("64KiB", 65_536),
        ("1.5MB", 1_500_000),
        ("1 MiB", 1_048_576),
        ("2GB", 2_000_000_000),
        ("2GiB", 2_147_483_648),
    ],
)
def test_sizes(text, size):
    assert units.size_bytes(text) == size


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("64", "a size needs a unit: '64B'"),
        (64, "a size needs a unit: '64B'"),
        ("64kib", "not a size"),
        ("1MB2KB", "not a size"),
        ("-1B", "not a size"),
        ("0.5B", "not a whole number of bytes"),
        ("99999999999GiB", "more than"),
    ],
)
def test_sizes_refused(text, why):
    with pytest.raises(ValueError, match=r"found .*; allowed: .*such as '64KiB'") as caught:
        units.size_bytes(text)
    assert str(caught.value).startswith(why)


@pytest.mark.parametrize(
    ("value", "number"),
    [
        ("95%", 0.95),
        ("99.9 %", 0.999),
        ("0.95", 0.95),
        (0.95, 0.95),
        (0, 0),
        (1, 1),
        ("100%", 1),
        ("0%", 0),
        ("1", 1),
    ],
)
def test_fractions(value, number):
    assert units.fraction(value) == number


@pytest.mark.parametrize(
    "value",
    [95, "95", "101%", -0.1, "-1%", math.nan, math.inf, "", "%", "nan", True, None, "1" * 65],
)
def test_fractions_refused(value):
    with pytest.raises(ValueError, match=r"found .*; allowed: 0 to 1 or 0% to 100%.*'95%'"):
        units.fraction(value)


@given(st.floats(0, 1))
def test_fraction_of_a_number_is_itself(value):
    assert units.fraction(value) == value
