"""Which keys of a recipe have an effect on which kind of example."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from kit.tones import RATE, dataset

from audiotool import recipe
from audiotool.data.config import DataConfig
from audiotool.data.entry import Entry
from audiotool.data.examples.base import EXAMPLES
from audiotool.data.manifest import write_manifest
from audiotool.tasks.base import TASKS

KEYS: list[tuple[str, str, Any]] = [
    *(
        ("augmentation", f"{name}_probability", 1.0)
        for name in ("speed", "formant", "equalisation", "clipping", "codec", "packet_loss", "band_limit")
    ),
    *(
        ("mixing", f"{name}_probability", 0.9)
        for name in ("lead_in", "island", "level_jump", "noise_only", "clean_only", "reverberation")
    ),
    ("mixing", "reverberation_target", "dry"),
    ("mixing", "early_ms", 5.0),
    ("mixing", "snr_db", (40.0, 40.0)),
    ("mixing", "level_dbfs", (-50.0, -49.0)),
    ("mixture", "noise_probability", 1.0),
    ("enrolment", "competitor_probability", 1.0),
    ("array", "radius", 0.2),
    ("narrow_band", "roll_off", (0.3, 0.4)),
]


@pytest.mark.parametrize("example", ["noisy", "mixture", "enrolment", "narrow-band", "array"])
def test_a_key_has_an_effect_or_is_named(corpus: Path, example: str) -> None:
    taps = np.random.default_rng(0).standard_normal(800) * np.exp(-np.arange(800) / 100)
    soundfile.write(corpus.parent / "room.wav", taps / 10, RATE)
    rooms = corpus.with_name("rooms.csv")
    write_manifest(rooms, [Entry(corpus.parent / "room.wav", "rir")])
    audio = {"segment_seconds": 0.5, "channels": 2 if example == "array" else 1}
    # Noise is there where it is optional, so that its keys can have an effect.
    always = {"mixture": {"noise_probability": 0.5}, "narrow_band": {"noise_probability": 0.5}}

    def made(changes: dict[str, Any]) -> list[torch.Tensor]:
        examples = dataset(corpus, example, "train", audio, rir=[rooms], **changes)
        return [v for i in range(6) for v in examples[i].values()]

    plain = made(always)
    for section, key, value in KEYS:
        changes = always | {section: always.get(section, {}) | {key: value}}
        same = all(map(torch.equal, plain, made(changes)))
        unused = EXAMPLES.get(example).unused_keys(DataConfig(**{section: {key: value}}), True)
        assert unused == ([f"data.{section}.{key}"] if same else []), (section, key)


def test_a_training_is_told_of_them(corpus: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        dataset(corpus, "mixture", "train", mixing={"lead_in_probability": 0.5})
        dataset(corpus, "mixture", "valid", evaluation={"island_probability": 0.5})
    assert "examples of 'mixture' do not use data.mixing.lead_in_probability" in caplog.messages
    assert "examples of 'mixture' do not use data.evaluation.island_probability" in caplog.messages


def test_an_evaluation_of_narrow_band_speech_has_no_noise(corpus: Path) -> None:
    def made(**changes: Any) -> dict[str, torch.Tensor]:
        noise = {"noise_probability": 1.0}
        return dataset(corpus, "narrow-band", evaluation=changes, narrow_band=noise)[0]

    quiet, noisy = made(), made(snr_db=(-5.0, -5.0))
    assert all(torch.equal(quiet[name], noisy[name]) for name in quiet)
    data = DataConfig(mixing={"snr_db": (-5.0, -5.0)}, evaluation={"snr_db": (-5.0, -5.0)})
    kind = EXAMPLES.get("narrow-band")
    assert kind.unused_keys(data, True) == []
    assert kind.unused_keys(data, False) == ["data.evaluation.snr_db"]


@pytest.mark.parametrize("name", list(recipe.shipped()))
def test_shipped_recipes_set_no_key_in_vain(name: str) -> None:
    loaded = recipe.load(name)
    kind = EXAMPLES.get(loaded.data.example or TASKS.get(loaded.task).example)
    assert not kind.unused_keys(loaded.data, True) + kind.unused_keys(loaded.data, False)
