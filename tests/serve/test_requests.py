"""Parameters of requests: which sample rates a stream may have; origins; texts for headers of answers."""

from __future__ import annotations

import re

import pytest
from kit.docs import ROOT

from audiotool.audio.raw import SUBTYPES
from audiotool.errors import InputError
from audiotool.serve.requests import (
    FILE_KEYS,
    HIGHEST_RATE,
    LOWEST_RATE,
    MOST_CHANNELS,
    SETTINGS_KEYS,
    STREAM_KEYS,
    check_rate,
    header_text,
    is_of_this_page,
    raw_of,
    settings_of,
)
from audiotool.streaming.session import Settings

COMMON = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 37800, 44100, 48000, 88200, 96000, 176400, 192000)


def test_the_guide_has_every_parameter_with_its_values_and_default() -> None:
    page = (ROOT / "docs" / "guides" / "python.md").read_text("utf-8")
    table = page.partition("| in the query |")[2].partition("\n\n")[0]
    rows = re.findall(r"^\| `(\w+)`( of a stream)? \| (.*?) \| (.*?) \|$", table, re.MULTILINE)
    assert {key for key, *_ in rows} == set(STREAM_KEYS)
    assert {key for key, of_streams, *_ in rows if not of_streams} == set(FILE_KEYS)
    told = {key: values for key, _, *values in rows}
    usual = raw_of({})
    assert told["rate"] == [f"{LOWEST_RATE} to {HIGHEST_RATE} Hz", str(usual.sample_rate)]
    assert told["channels"] == [f"1 to {MOST_CHANNELS}", str(usual.channels)]
    assert told["format"] == [", ".join(f"`{name}`" for name in SUBTYPES), f"`{usual.encoding}`"]


@pytest.mark.parametrize("model_rate", [16000, 22050, 24000, 44100, 48000])
def test_common_rates_are_taken(model_rate: int) -> None:
    for rate in COMMON:
        check_rate(rate, model_rate)


@pytest.mark.parametrize(
    ("rate", "model_rate", "near"),
    [(44101, 16000, 44100), (44101, 48000, 44100), (4001, 16000, 4000), (16000, 10007, 20014)],
)
def test_a_rate_without_a_small_ratio_is_told_the_nearest_with_one(
    rate: int, model_rate: int, near: int
) -> None:
    with pytest.raises(InputError, match=f"the model's {model_rate} Hz: take {near} Hz"):
        check_rate(rate, model_rate)


@pytest.mark.parametrize(
    ("origin", "host", "is_ours"),
    [
        ("https://calls.example", "calls.example", True),
        ("https://calls.example", "calls.example:443", True),
        ("https://calls.example:443", "Calls.example", True),
        ("http://calls.example", "calls.example:80", True),
        ("https://calls.example:8443", "calls.example:8443", True),
        ("http://[::1]:8321", "[::1]:8321", True),
        ("http://calls.example", "calls.example:443", False),
        ("https://calls.example", "calls.example:8443", False),
        ("https://calls.example:8443", "calls.example", False),
        ("https://evil.example", "calls.example:443", False),
        ("https://calls.example", None, False),
        ("null", "calls.example", False),
        ("null", "", False),
        ("https://calls.example:port", "calls.example", False),
    ],
)
def test_an_origin_is_that_of_the_host_with_or_without_its_usual_port(
    origin: str, host: str | None, is_ours: bool
) -> None:
    assert is_of_this_page(origin, host) == is_ours


def test_a_text_for_a_header_breaks_none() -> None:
    assert header_text("cut:\r\nSet-Cookie: a\x1b[1m\0 é") == "cut: Set-Cookie: a\\x1b[1m\\x00 \\xe9"
    assert len(header_text(10_000 * "é")) == 1000


def test_settings_that_may_change_are_parameters() -> None:
    assert SETTINGS_KEYS == {"mix": "mix", "max_attenuation": "max_attenuation_db"}
    values = {"mix": "0.5", "max_attenuation": 12, "rate": "8000"}
    assert settings_of(values, Settings(warm_up=False)) == Settings(
        mix=0.5, max_attenuation_db=12.0, warm_up=False
    )
