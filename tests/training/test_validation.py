"""Validation: repeatable losses, scores that come late or are lost, and the choice of the best weights."""

from __future__ import annotations

import multiprocessing
from concurrent.futures import BrokenExecutor, Future
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.signal
import torch
from kit.audio import speech_like
from kit.curves import curve
from kit.runs import stopped_after, train

from audiotool import checkpoint, recipe
from audiotool.dsp.bandwidth import BandwidthMeter
from audiotool.metrics.score import score
from audiotool.metrics.values import Value
from audiotool.models.registry import MODELS
from audiotool.training.objective import Objective
from audiotool.training.records import Records
from audiotool.training.validation import Row, Validator, _score


class Drawing(MODELS.get("gtcrn")):  # type: ignore[misc]
    """A model that adds noise, in training and in validation."""

    def training_outputs(self, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        return {"estimate": batch["input"] + torch.randn_like(batch["input"])}


@pytest.mark.parametrize("seed", [0, 5])
def test_equal_weights_have_equal_validations(tiny_recipe: dict[str, Any], seed: int) -> None:
    model = Drawing.from_config(MODELS.get("gtcrn").small).eval()
    objective = Objective(recipe.parse(tiny_recipe, "tiny"))
    examples = [{"input": torch.zeros(1, 800), "target": torch.ones(1, 800)} for _ in range(3)]
    validator = Validator(examples, [], 16000, 1, seed)
    torch.manual_seed(1)
    expected = torch.rand(4)
    torch.manual_seed(1)
    first, second = (validator.begin(n, model, objective, torch.device("cpu"), {}) for n in (1, 2))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert validator.pending[0].losses == validator.pending[1].losses
    assert not torch.equal(first[0], first[1])
    # Training draws what it would have drawn.
    assert torch.equal(torch.rand(4), expected)


class Late(Future[Row]):
    """Scores that arrive only when they are waited for."""

    def __init__(self, scores: Row | None = None) -> None:
        super().__init__()
        self._scores = {"si_sdr": Value(1.0)} if scores is None else scores

    def done(self) -> bool:
        return False

    def result(self, timeout: float | None = None) -> Row:
        return self._scores

    def exception(self, timeout: float | None = None) -> BaseException | None:
        return None


class Interrupted(Late):
    """A wait that the second Ctrl-C ends."""

    def exception(self, timeout: float | None = None) -> BaseException | None:
        raise KeyboardInterrupt


class Killed(Future[Row]):
    """A score whose process the first Ctrl-C ended."""

    def __init__(self) -> None:
        super().__init__()
        self.set_exception(BrokenExecutor())


def test_interrupted_run_waits_for_its_validations(
    tiny_recipe: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Validator, "_submit", lambda *audio: Late())
    tiny_recipe["validation"] |= {"metrics": ["si_sdr"], "metric": "si_sdr"}
    summary = stopped_after(4, tiny_recipe, tmp_path).run()
    assert (summary.step, summary.interrupted) == (4, True)
    assert summary.best == (3, "si_sdr", 1.0)
    best = checkpoint.read_metadata(tmp_path / "tiny-best.safetensors")
    assert (best.training["steps"], best.metrics["valid"]["si_sdr"]) == (3, 1.0)


UNSCORED = {"pesq": Value(None, "shorter than 0.25 s"), "si_sdr": Value(1.0)}


def test_a_metric_that_no_recording_has_is_named_and_the_loss_chooses(
    tiny_recipe: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(Validator, "_submit", lambda *audio: Late(UNSCORED))
    tiny_recipe["validation"] |= {"metrics": ["pesq", "si_sdr"], "metric": "pesq"}
    step, name, value = train(tiny_recipe, tmp_path).best
    assert name == "loss"
    assert value == min(float(row["loss"]) for row in curve(tmp_path / "valid.csv"))
    assert checkpoint.read_metadata(tmp_path / "tiny-best.safetensors").training["steps"] == step
    (said,) = (m for m in caplog.messages if "no recording has pesq" in m)
    assert said.endswith("shorter than 0.25 s; the loss chooses the best checkpoint")


def test_a_metric_that_earlier_validations_have_chooses_on(
    tiny_recipe: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    tiny_recipe["validation"] |= {"metrics": ["pesq"], "metric": "pesq"}
    monkeypatch.setattr(Validator, "_submit", lambda *audio: Late({"pesq": Value(2.0)}))
    train(tiny_recipe, tmp_path, False, "train.steps=3")
    monkeypatch.setattr(Validator, "_submit", lambda *audio: Late(UNSCORED))
    assert train(tiny_recipe, tmp_path, True).best == (3, "pesq", 2.0)
    (said,) = (m for m in caplog.messages if "no recording has pesq" in m)
    assert said.endswith("shorter than 0.25 s")


def test_weights_that_mute_a_recording_come_behind_those_that_score_all(
    tiny_recipe: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The mean over the others is better, because the recording that was muted is the hardest."""
    tiny_recipe["validation"] |= {"every": 2, "count": 3, "metrics": ["si_sdr"], "metric": "si_sdr"}
    speech = speech_like(0.5, 16000)
    silent = np.zeros_like(speech)
    noise = np.random.default_rng(0).standard_normal(speech.shape).astype(np.float32)
    hard, easy = speech + noise, speech + 0.01 * noise
    pairs = iter(
        [(speech, easy), (speech, hard), (silent, easy), (speech, easy), (speech, silent), (silent, easy)]
    )

    def submit(*audio: Any) -> Future[Row]:
        future: Future[Row] = Future()
        future.set_result(_score(*next(pairs), 16000, ["si_sdr"]))
        return future

    monkeypatch.setattr(Validator, "_submit", submit)
    step, name, value = train(tiny_recipe, tmp_path, False, "train.steps=4").best
    rows = curve(tmp_path / "valid.csv")
    assert float(rows[1]["si_sdr"]) > float(rows[0]["si_sdr"]) == pytest.approx(value)
    assert (step, name) == (2, "si_sdr")
    assert [row.get("si_sdr_unscored") for row in rows] == ["", "1"], "silence in a reference is no fault"
    assert checkpoint.read_metadata(tmp_path / "tiny-best.safetensors").training["steps"] == 2
    assert "validation: 1 of 3 recordings have no si_sdr: the estimate is silent" in caplog.messages


def test_a_separators_validation_knows_the_other_voices() -> None:
    voices = speech_like(1.0, 16000, 3)
    estimates = voices + 0.1 * np.roll(voices, 1, axis=0)
    row = _score(voices, estimates, 16000, ["si_sir", "si_sar"], voices.sum(0, keepdims=True), 3)
    for name, value in row.items():
        each = []
        for n in range(3):
            others = list(np.delete(voices, n, axis=0))
            each.append(score(voices[n], estimates[n], 16000, name, interferers=others)[name].value)
        assert value.value == pytest.approx(sum(x for x in each if x is not None) / 3)


def test_a_validation_knows_the_unprocessed_input() -> None:
    wide = np.random.default_rng(0).normal(0, 0.1, (1, 32000)).astype(np.float32)
    narrow = scipy.signal.sosfilt(scipy.signal.cheby2(12, 80, 2500, fs=16000, output="sos"), wide)
    noisy = narrow.astype(np.float32)
    row = _score(wide, noisy, 16000, ["lsd_high", "si_sir"], noisy)
    meter = BandwidthMeter(16000)
    meter.feed(noisy)
    expected = score(
        wide[0], noisy[0], 16000, ["lsd_high", "si_sir"], meter.bandwidth_hz(), [(noisy - wide)[0]]
    )
    assert row == expected
    assert row["lsd_high"] != _score(wide, noisy, 16000, ["lsd_high"])["lsd_high"]
    assert _score(wide, noisy, 16000, ["si_sir"])["si_sir"].value is None


def test_the_metrics_of_a_family_are_validated(tiny_recipe: dict[str, Any], tmp_path: Path) -> None:
    tiny_recipe["validation"] |= {"every": 2, "count": 1, "metrics": ["si_sdr", "composite"]}
    train(tiny_recipe, tmp_path, False, "train.steps=2")
    assert {"si_sdr", "csig", "cbak", "covl"} <= curve(tmp_path / "valid.csv")[0].keys()


def test_validations_of_another_set_do_not_compete(
    tiny_recipe: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    tiny_recipe["validation"] |= {"metrics": ["pesq"], "metric": "pesq"}
    scores = iter([3.0, 3.0, 2.0, 1.0, 1.0, 1.0])
    monkeypatch.setattr(Validator, "_submit", lambda *audio: Late({"pesq": Value(next(scores))}))
    train(tiny_recipe, tmp_path, False, "train.steps=3")
    for steps, setting, best, others in (
        (4, "validation.count=1", (4, "pesq", 2.0), 1),
        (5, "validation.count=1", (4, "pesq", 2.0), 1),
        # The first set again, whose best is no longer kept.
        (6, "validation.workers=2", (6, "pesq", 1.0), 3),
    ):
        caplog.clear()
        assert train(tiny_recipe, tmp_path, True, f"train.steps={steps}", setting).best == best
        assert (
            f"the set has changed: its {others} earlier validations choose no best checkpoint" in caplog.text
        )
        kept = checkpoint.read_metadata(tmp_path / "tiny-best.safetensors").training["steps"]
        assert kept == best[0]


def test_validations_by_another_metric_do_not_compete(
    tiny_recipe: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    tiny_recipe["validation"] |= {"every": 1, "metrics": ["pesq"], "metric": "loss"}
    scores = iter([4.0, 4.0, 3.0, 3.0, 2.0, 2.0, 1.0, 1.0])
    monkeypatch.setattr(Validator, "_submit", lambda *audio: Late({"pesq": Value(next(scores))}))
    before = train(tiny_recipe, tmp_path, False, "train.steps=2").best
    assert before is not None
    assert "choose no best" not in caplog.text
    # Weights of the first step, which had the best PESQ, may be gone: the loss chose.
    for steps in (3, 4):
        caplog.clear()
        summary = train(tiny_recipe, tmp_path, True, f"train.steps={steps}", "validation.metric=pesq")
        assert summary.best == (3, "pesq", 2.0)
        assert "the metric has changed: its 2 earlier validations choose no best checkpoint" in caplog.text
        assert checkpoint.read_metadata(tmp_path / "tiny-best.safetensors").training["steps"] == 3


def test_a_run_that_ends_without_validations_has_the_best_of_before(
    tiny_recipe: dict[str, Any], tmp_path: Path
) -> None:
    before = train(tiny_recipe, tmp_path, False, "train.steps=3").best
    assert before is not None
    assert train(tiny_recipe, tmp_path, True, "train.steps=4", "validation.count=0").best == before


def test_lost_validations_are_made_up_for(
    tiny_recipe: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    tiny_recipe["validation"] |= {"every": 2, "metrics": ["si_sdr"], "metric": "loss"}
    monkeypatch.setattr(Validator, "_submit", lambda *audio: Late())
    train(tiny_recipe, whole)
    monkeypatch.setattr(Validator, "_submit", lambda *audio: Interrupted())
    with pytest.raises(KeyboardInterrupt):
        stopped_after(5, tiny_recipe, parts).run()
    assert not (parts / "valid.csv").exists()
    monkeypatch.setattr(Validator, "_submit", lambda *audio: Late())
    train(tiny_recipe, parts, True)
    assert curve(parts / "valid.csv") == curve(whole / "valid.csv")
    # Once is enough.
    train(tiny_recipe, parts, True)
    assert curve(parts / "valid.csv") == curve(whole / "valid.csv")
    for name in ("tiny", "tiny-best"):
        files = [folder / f"{name}.safetensors" for folder in (whole, parts)]
        torch.testing.assert_close(*(checkpoint.load(f)[0].state_dict() for f in files), rtol=0, atol=0)
        assert len({checkpoint.read_metadata(f).training["steps"] for f in files}) == 1


def test_the_best_is_exported_before_its_validation_is_recorded(
    tiny_recipe: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny_recipe["validation"] |= {"every": 2, "metrics": ["si_sdr"], "metric": "si_sdr"}
    monkeypatch.setattr(Validator, "_submit", lambda *audio: Late())

    def killed(records: Records) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as dying:
        dying.setattr(Records, "draw", killed)
        with pytest.raises(KeyboardInterrupt):
            train(tiny_recipe, tmp_path)
    assert [int(row["step"]) for row in curve(tmp_path / "valid.csv")] == [2]
    assert train(tiny_recipe, tmp_path, True).best == (2, "si_sdr", 1.0)
    best = checkpoint.read_metadata(tmp_path / "tiny-best.safetensors")
    assert (best.training["steps"], best.metrics["valid"]["si_sdr"]) == (2, 1.0)


def test_validations_whose_scores_were_killed_are_made_up_for(
    tiny_recipe: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny_recipe["validation"] |= {"metrics": ["si_sdr"], "metric": "si_sdr"}
    monkeypatch.setattr(Validator, "_submit", lambda *audio: Killed())
    assert stopped_after(3, tiny_recipe, tmp_path).run().best is None
    monkeypatch.setattr(Validator, "_submit", lambda *audio: Late())
    assert train(tiny_recipe, tmp_path, True).best == (3, "si_sdr", 1.0)
    assert [row["si_sdr"] for row in curve(tmp_path / "valid.csv")] == ["1", "1"]


def test_metric_processes_are_gone_when_a_run_ends(tiny_recipe: dict[str, Any], tmp_path: Path) -> None:
    tiny_recipe["validation"] |= {"metrics": ["si_sdr"], "metric": "si_sdr"}
    train(tiny_recipe, tmp_path)
    assert not multiprocessing.active_children()
