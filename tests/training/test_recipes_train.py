"""Every shipped recipe trains: its own losses, discriminators and optimisers, on networks made small.

The trainer is given the same batch again and again, and must get better at it.
"""

from __future__ import annotations

import csv
import itertools
import math
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from kit.curves import curve
from kit.patience import PATIENCE
from torch import Tensor

from audiotool import recipe
from audiotool.models.registry import MODELS
from audiotool.progress import Progress
from audiotool.recipe.schema import Recipe
from audiotool.training.trainer import Trainer

AUDIO = Path(__file__).parents[1] / "data" / "audio"
STEPS = 3

SMALL_DISCRIMINATORS: dict[str, dict[str, Any]] = {
    "metric": {"channels": 4},
    "multi-band": {"channels": 4},
    "multi-period": {"channel_multiplier": 0.0625},
    "multi-resolution": {"channel_multiplier": 0.25},
    "parallel-wavegan": {"layers": 3, "conv_channels": 4},
    "subband-cqt": {"filters": 4, "max_filters": 8, "n_octaves": [4, 4, 4]},
}

DRAWN = ("periodwave",)
"""Recipes whose loss is another one in each step: periodwave draws the time at which the field is asked."""

RATES = {"bigvgan": 3e-4, "hifigan": 3e-4}
"""Learning rates at which three steps tell, where 0.003 is too much."""

SECONDS = {"super-resolve": 0.512, "vocode": 0.15}
"""Lengths of segments by task, where a second takes long."""


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundled recordings with a voice of its own for each, as separation needs them; enrolment.csv beside
    has two voices with several recordings each."""
    folder = tmp_path_factory.mktemp("recordings")
    with (AUDIO / "manifest.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["kind"] in ("speech", "noise")]
    for name, voices in (("manifest.csv", len(rows)), ("enrolment.csv", 2)):
        with (folder / name).open("w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            for number, row in enumerate(rows):
                voice = rows[number % voices]["path"]
                columns = {"path": str(AUDIO / row["path"]), "speaker_or_class": voice, "split": "train"}
                writer.writerow(row | columns)
    return folder / "manifest.csv"


def shrunk(name: str, recordings: Path, decoded: Path) -> Recipe:
    """The shipped recipe with a small model, the bundled recordings, and a rate at which three steps tell."""
    values = recipe.load(name).plain()
    values["model"]["config"] |= MODELS.get(values["model"]["name"]).small
    values["audio"]["segment_seconds"] = SECONDS.get(values["task"], 1.0)
    kept = {key: values["data"][key] for key in ("example", "mixture", "narrow_band", "enrolment", "array")}
    values["init"] = {}
    voices = recordings.with_name("enrolment.csv") if kept["example"] == "enrolment" else recordings
    values["data"] = kept | {
        "cache": str(decoded),
        "speech": [str(voices)],
        "noise": [str(recordings)],
        "speech_minimum_rate": 16000,
        "workers": 0,
        "mixing": {"reverberation_probability": 0, "noise_only_probability": 0, "snr_db": [0, 5]},
        "augmentation": {"speed_probability": 0},
    }
    values["optimiser"]["lr"] = RATES.get(values["model"]["name"], 3e-3)
    values["schedule"] = {"name": "constant"}
    values["train"] |= {"steps": STEPS, "batch_size": 1}
    values["validation"] = {"count": 0}
    values["logging"] = {"every": 1, "tensorboard": False}
    if values["adversarial"] is not None:
        values["adversarial"] |= {"start": 0, "schedule": {"name": "constant"}}
        for term in values["adversarial"]["discriminators"]:
            term["config"] |= SMALL_DISCRIMINATORS.get(term["name"], {})
    return recipe.parse(values, name)


def repeat_one_batch(trainer: Trainer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Give the trainer its first batch in every step."""
    load = trainer.current.batches

    def repeated(decoding: Progress) -> Iterator[dict[str, Tensor]]:
        return itertools.repeat(next(load(decoding)))

    monkeypatch.setattr(trainer.current, "batches", repeated)
    # Discriminators that cannot be made small would be written to disk each time.
    monkeypatch.setattr(trainer.current, "save", lambda pending: None)


def own_loss(shipped: Recipe, row: dict[str, str]) -> float:
    """The recipe's weighted losses, without the adversarial loss."""
    return sum(term.weight * float(row[f"{term.name}-loss"]) for term in shipped.loss)


@pytest.mark.parametrize("name", list(recipe.shipped()))
def test_shipped_recipe_trains(
    name: str, recordings: Path, decoded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = shrunk(name, recordings, decoded)
    trainer = Trainer(small, tmp_path, "cpu")
    repeat_one_batch(trainer, monkeypatch)
    summary = trainer.run()
    rows = curve(tmp_path / "train.csv")
    assert (summary.step, summary.skipped, len(rows)) == (STEPS, 0, STEPS)
    losses = [own_loss(small, row) for row in rows]
    assert all(math.isfinite(loss) for loss in losses)
    assert len(set(losses)) == STEPS
    if small.adversarial is not None:
        discriminator = [float(row["discriminator"]) for row in rows]
        adversarial = [float(row["adversarial"]) for row in rows]
        assert all(map(math.isfinite, discriminator + adversarial))
        assert len(set(discriminator)) == STEPS
        adversarial_loss = small.adversarial.weight * adversarial[0]
        if small.adversarial.feature_matching:
            adversarial_loss += small.adversarial.feature_matching * float(rows[0]["feature-matching"])
        assert float(rows[0]["loss"]) == pytest.approx(losses[0] + adversarial_loss, rel=1e-4)
    if name not in DRAWN:
        assert losses[-1] < losses[0]


WARMED_UP = [name for name in recipe.shipped() if recipe.load(name).train.warm_up_probability]


@pytest.mark.parametrize("name", WARMED_UP)
def test_two_processes_warm_up(name: str, recordings: Path, decoded: Path, tmp_path: Path) -> None:
    """A warmed-up batch leaves the learnt beginning out, and the other process waits for its gradient."""
    values = shrunk(name, recordings, decoded).plain()
    values["train"] |= {"steps": 10, "warm_up_probability": 0.5, "accumulate": 2}
    values["audio"]["segment_seconds"] = 0.5
    path = tmp_path / f"{name}.yaml"
    path.write_text(yaml.safe_dump(values))
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    options = ["--folder", str(tmp_path / "run"), "--device", "cpu", "--threads", "1"]
    command = [sys.executable, *launcher, "-m", "audiotool", "train", str(path), *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr
    assert len(curve(tmp_path / "run" / "train.csv")) == 10
