"""`models list`, `bench`, live streams and the pages have the same latencies."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from kit.checkpoints import save_random
from kit.command import run_command

import audiotool
from audiotool import checkpoint, named_checkpoints
from audiotool.benchmark import measure, resampled_latency_ms

DOCS = Path(__file__).parents[2] / "docs"
DENOISERS = [name for name in named_checkpoints.bundled() if name.startswith("denoise-")]


def milliseconds(name: str, sample_rate: int) -> float:
    return 1000 * audiotool.load(name).live(sample_rate).latency_seconds


@pytest.mark.parametrize("name", DENOISERS)
def test_the_list_the_benchmark_and_the_stream_agree(name: str) -> None:
    done = run_command("models", "list", "--json")
    row = next(row for row in json.loads(done.stdout)["checkpoints"] if row["checkpoint"] == name)
    pipeline = audiotool.load(name)
    result = measure(pipeline.engine, seconds=0.5)
    assert row["latency_ms"] == pytest.approx(result.latency_ms, abs=0.01)
    assert result.latency == pipeline.engine.latency
    assert result.hop_latency_ms == pytest.approx(milliseconds(name, pipeline.sample_rate))
    assert result.resampled_latency_ms == pytest.approx(milliseconds(name, 48000), abs=0.05)
    assert result.hop_latency_ms is not None
    assert result.resampled_latency_ms is not None
    assert result.latency_ms <= result.hop_latency_ms <= result.resampled_latency_ms


@pytest.mark.parametrize("name", [name for name in named_checkpoints.bundled() if "vocoder" in name])
def test_the_benchmark_knows_the_latency_of_copy_synthesis(name: str) -> None:
    vocoder, _ = checkpoint.open_engine(named_checkpoints.resolve(name))
    assert resampled_latency_ms(vocoder) == pytest.approx(milliseconds(name, 48000), abs=0.05)
    page = " ".join((DOCS / "vocoders.md").read_text("utf-8").split())
    told = re.search(rf"`{name}` lags by (\d+) ms from mel to sound, and by (\d+) from sound to sound", page)
    assert told is not None
    rate = vocoder.sample_rate
    assert int(told[1]) == round(1000 * vocoder.latency / rate)
    assert int(told[2]) == round(milliseconds(name, rate))


def test_the_page_of_models_says_what_resampling_adds(tmp_path: Path) -> None:
    page = " ".join((DOCS / "models.md").read_text("utf-8").split())
    told = re.search(
        r"44.1 kHz adds (\d+) ms to a model of 16 kHz, (\d+) ms to one of 8 kHz and (\d+) ms to",
        page,
    )
    assert told is not None
    for added, model in zip(told.groups(), ("dtln", "conv-tasnet", "full-band-gru"), strict=True):
        pipeline = audiotool.load(save_random(tmp_path, model))
        own, resampled = (pipeline.live(rate).latency_seconds for rate in (pipeline.sample_rate, 44100))
        assert round(1000 * (resampled - own)) == int(added), model


def test_the_pages_say_what_streams_have() -> None:
    pipeline = audiotool.load("denoise")
    faq, guide = (
        " ".join((DOCS / page).read_text("utf-8").split()) for page in ("faq.md", "guides/python.md")
    )
    answer = faq.partition("What latency has a live stream?")[2][:400]
    found = re.findall(r"(\d+) ms at ([\d.]+) kHz", answer)
    assert len(found) == 5
    for told, rate in found:
        assert round(1000 * pipeline.live(round(1000 * float(rate))).latency_seconds) == int(told), rate
    sentence = guide.partition("The default denoiser has ")[2][:90]
    found = re.findall(r"(\d+)(?: samples)? at ([\d.]+) kHz", sentence)
    assert len(found) == 3
    for told, rate in found:
        assert pipeline.live(round(1000 * float(rate))).latency == int(told), rate


def test_the_answer_about_stereo_says_how_much_later_speakers_come() -> None:
    page = " ".join((DOCS / "faq.md").read_text("utf-8").split())
    told = re.search(r"(\d+) ms later live than in mono", page)
    assert told is not None
    pipeline = audiotool.load("separate")
    mono, stereo = (pipeline.live(16000, channels).latency_seconds for channels in (1, 2))
    assert round(1000 * (stereo - mono)) == int(told[1])
