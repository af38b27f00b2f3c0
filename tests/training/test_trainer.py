"""The loop: what a run leaves behind, exact resume, accumulation, warm-ups, and what stops it."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest
import torch
from kit.curves import curve
from kit.runs import StopAfter, stopped_after, train

from audiotool import checkpoint, recipe
from audiotool.errors import DeviceError, RecipeError
from audiotool.losses.waveform import L1WaveformLoss
from audiotool.models.band_split_gru import BandSplitGRU
from audiotool.models.base import Model
from audiotool.training.objective import explained
from audiotool.training.trainer import Trainer


def test_run_leaves_checkpoint_curves_and_states(tiny_recipe: dict[str, Any], tmp_path: Path) -> None:
    tiny_recipe["validation"] |= {"metrics": ["si_sdr"], "metric": "si_sdr"}
    summary = train(tiny_recipe, tmp_path)
    assert (summary.step, summary.interrupted) == (6, False)
    assert [int(row["step"]) for row in curve(tmp_path / "train.csv")] == [1, 2, 3, 4, 5, 6]
    assert [int(row["step"]) for row in curve(tmp_path / "valid.csv")] == [3, 6]
    assert sorted(p.name for p in (tmp_path / "states").iterdir()) == [
        "step-0000000004.pt",
        "step-0000000006.pt",
    ]
    model, metadata = checkpoint.load(tmp_path / "tiny.safetensors")
    assert model.process(torch.zeros(1, 1, 1000)).shape == (1, 1, 1000)
    assert metadata.training["steps"] == 6
    assert metadata.training["examples"] == 12
    assert metadata.metrics["valid"].keys() == {"loss", "l1-waveform-loss", "si_sdr"}
    licences = {source["name"]: source["licence"] for source in metadata.sources}
    assert licences["LJSpeech-1.1"] == "public-domain"
    assert metadata.recipe is not None
    assert metadata.recipe["data"]["root"] is None
    best = checkpoint.read_metadata(tmp_path / "tiny-best.safetensors")
    assert best.training["steps"] == summary.best[0]
    assert best.metrics["valid"]["si_sdr"] == pytest.approx(summary.best[2], rel=1e-5)


@pytest.mark.parametrize("stop_after", [2, 3])
def test_resumed_run_equals_an_uninterrupted_one(
    tiny_recipe: dict[str, Any], tmp_path: Path, stop_after: int
) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    tiny_recipe["logging"]["every"] = 2
    train(tiny_recipe, whole)
    assert stopped_after(stop_after, tiny_recipe, parts).run().interrupted
    assert not train(tiny_recipe, parts, True).interrupted
    assert curve(parts / "train.csv") == curve(whole / "train.csv")
    assert curve(parts / "valid.csv") == curve(whole / "valid.csv")
    states = [torch.load(p / "states" / "step-0000000006.pt", weights_only=True) for p in (whole, parts)]
    for key in ("model", "average", "optimiser"):
        torch.testing.assert_close(states[0][key], states[1][key], rtol=0, atol=0)


def test_accumulation_equals_a_larger_batch(tiny_recipe: dict[str, Any], tmp_path: Path) -> None:
    train(tiny_recipe, tmp_path / "large", False, "train.batch_size=4")
    train(tiny_recipe, tmp_path / "small", False, "train.accumulate=2")
    for large, small in zip(
        curve(tmp_path / "large" / "train.csv"), curve(tmp_path / "small" / "train.csv"), strict=True
    ):
        assert float(large["loss"]) == pytest.approx(float(small["loss"]), rel=1e-4)


class Poisoned(L1WaveformLoss):
    """Not a number at given calls."""

    def __init__(self, calls: set[int]) -> None:
        super().__init__()
        self.calls, self.count = calls, itertools.count()

    def forward(self, outputs: dict[str, Any], batch: dict[str, Any]) -> torch.Tensor:
        loss = super().forward(outputs, batch)
        return loss * float("nan") if next(self.count) in self.calls else loss


def poisoned_trainer(values: dict[str, Any], folder: Path, calls: set[int]) -> Trainer:
    values["validation"]["count"] = 0
    trainer = Trainer(recipe.parse(values, "tiny", ["train.max_skipped=2"]), folder, "cpu")
    build = trainer.current.build

    def build_poisoned(state: dict[str, Any] | None) -> None:
        build(state)
        trainer.current.objective.terms[0] = Poisoned(calls)

    trainer.current.build = build_poisoned  # type: ignore[method-assign]
    return trainer


def test_steps_without_a_finite_gradient_are_skipped(tiny_recipe: dict[str, Any], tmp_path: Path) -> None:
    summary = poisoned_trainer(tiny_recipe, tmp_path, {1, 2, 4}).run()
    assert (summary.step, summary.skipped) == (6, 3)
    model, _ = checkpoint.load(tmp_path / "tiny.safetensors")
    assert all(value.isfinite().all() for value in model.state_dict().values())


def test_divergence_gives_up_with_the_reason(tiny_recipe: dict[str, Any], tmp_path: Path) -> None:
    trainer = poisoned_trainer(tiny_recipe, tmp_path, {2, 3, 4})
    message = r"diverged at step 5: 3 steps in a row .*loss, l1-waveform.*optimiser\.lr"
    with pytest.raises(RecipeError, match=message):
        trainer.run()
    # The last good state is there to go on from.
    assert trainer.current.folder.load_state()["step"] == 4  # type: ignore[index]


def test_a_training_that_takes_no_step_is_an_error(tiny_recipe: dict[str, Any], tmp_path: Path) -> None:
    tiny_recipe["train"]["steps"] = 2
    trainer = poisoned_trainer(tiny_recipe, tmp_path, {0, 1})
    message = r"model '.*' has learnt nothing: the first 2 steps in a row .*\(not finite: loss, l1-waveform"
    with pytest.raises(RecipeError, match=message):
        trainer.run()
    assert not (tmp_path / "tiny.safetensors").exists()


def test_an_estimate_of_another_shape_is_an_error(
    tiny_recipe: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = Model.training_outputs

    def doubled(model: Model, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        return {name: value.repeat(1, 2, 1) for name, value in own(model, batch).items()}

    monkeypatch.setattr(Model, "training_outputs", doubled)
    with pytest.raises(RecipeError, match=r"model '.*' gives .* \(2, 2, \d+\) for a target of .* \(2, 1, "):
        train(tiny_recipe, tmp_path)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            ["loss=[{name: pitch}]"],
            r"loss\.0: pitch needs 'target_f0', which .*\(they give: estimate, input, target",
        ),
        (
            ["loss=[{name: l1-waveform}, {name: permutation-invariant, options: {stems: 3}}]"],
            r"loss\.1: permutation-invariant does not fit .*estimate \(2, 1, 4000\)",
        ),
        (
            [
                "audio.segment_seconds=0.03",
                "adversarial={discriminators: [{name: multi-resolution, config: {channel_multiplier: 0.1}}]}",
            ],
            r"adversarial\.discriminators: multi-resolution does not fit .*waveforms \(4, 1, 480\)",
        ),
    ],
)
def test_parts_that_do_not_fit_the_model_are_named(
    tiny_recipe: dict[str, Any], tmp_path: Path, settings: list[str], message: str
) -> None:
    with pytest.raises(RecipeError, match=message):
        train(tiny_recipe, tmp_path, False, "validation.count=0", *settings)


def test_segments_of_less_than_a_frame_are_trained_on(tiny_recipe: dict[str, Any], tmp_path: Path) -> None:
    settings = ["loss=[{name: multi-resolution-stft}]", "audio.segment_seconds=0.01", "validation.count=0"]
    summary = train(tiny_recipe, tmp_path, False, *settings)
    assert summary.step == summary.steps
    assert summary.skipped == 0


def test_what_a_device_lacks_is_no_error_of_the_recipe() -> None:
    with pytest.raises(NotImplementedError), explained("loss.0: mel", {}):
        raise NotImplementedError("The operator 'aten::x' is not currently implemented for the MPS device")


def test_out_of_memory_names_the_keys(tiny_recipe: dict[str, Any], tmp_path: Path) -> None:
    trainer = Trainer(recipe.parse(tiny_recipe, "tiny", ["validation.count=0"]), tmp_path, "cpu")

    def fail(*inputs: Any) -> None:
        torch.empty(2**60)

    trainer._step = fail  # type: ignore[assignment, method-assign]
    with pytest.raises(DeviceError, match=r"train\.batch_size .*train\.accumulate.*audio\.segment_seconds"):
        trainer.run()


def test_other_runtime_errors_are_raised_unchanged(tiny_recipe: dict[str, Any], tmp_path: Path) -> None:
    trainer = Trainer(recipe.parse(tiny_recipe, "tiny", ["validation.count=0"]), tmp_path, "cpu")

    def fail(*inputs: Any) -> None:
        raise RuntimeError("shapes differ")

    trainer._step = fail  # type: ignore[assignment, method-assign]
    with pytest.raises(RuntimeError, match="shapes differ"):
        trainer.run()


def test_a_schedule_longer_than_the_run_is_named(
    tiny_recipe: dict[str, Any], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tiny_recipe["schedule"] = {"name": "trapezoid", "warmup_steps": 2, "decay_steps": 5}
    train(tiny_recipe, tmp_path / "run")
    assert [m for m in caplog.messages if "schedule.decay_steps (5)" in m and "6 steps" in m]


def test_a_run_made_longer_after_its_rate_has_fallen_is_named(
    tiny_recipe: dict[str, Any], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tiny_recipe["schedule"] = {"name": "cosine"}
    for steps, resume in ((2, False), (2, True), (3, True)):
        caplog.clear()
        train(tiny_recipe, tmp_path / "run", resume, f"train.steps={steps}", "validation.count=0")
        assert ("rises at step 2 from 0 to 0.25" in caplog.text) == (steps == 3)
        assert "holds no state" not in caplog.text


def test_rows_of_no_split_are_warned_of(
    tiny_recipe: dict[str, Any], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tiny_recipe["data"]["splits"] = {"test": ["elsewhere"]}
    train(tiny_recipe, tmp_path, False, "train.steps=1", "validation.count=0")
    warnings = [r.message for r in caplog.records if "the split 'test', which data.splits" in r.message]
    assert [w.partition(":")[0] for w in warnings] == ["data.speech", "data.noise"]


@pytest.mark.parametrize(
    ("device", "settings", "message"),
    [("cuda:9", [], "no device 'cuda:9'"), ("cpu", ["train.precision=fp16"], "does not train in fp16")],
)
def test_devices_are_checked(
    tiny_recipe: dict[str, Any], tmp_path: Path, device: str, settings: list[str], message: str
) -> None:
    with pytest.raises(DeviceError, match=message):
        Trainer(recipe.parse(tiny_recipe, "tiny", settings), tmp_path, device)


def test_bf16_trains_on_the_cpu(tiny_recipe: dict[str, Any], tmp_path: Path) -> None:
    train(tiny_recipe, tmp_path / "half", False, "train.precision=bf16", "validation.count=0")
    train(tiny_recipe, tmp_path / "full", False, "validation.count=0")
    half, full = (curve(tmp_path / name / "train.csv") for name in ("half", "full"))
    assert [row["loss"] for row in half] != [row["loss"] for row in full]
    for a, b in zip(half, full, strict=True):
        assert float(a["loss"]) == pytest.approx(float(b["loss"]), rel=0.05)


WARMED_UP = {"name": "band-split-gru", "config": {"dim": 4, "layers": 1}}


@pytest.mark.parametrize(("probability", "least", "most"), [(0, 0, 0), (0.5, 1, 11), (1, 12, 12)])
def test_batches_are_warmed_up_with_the_given_probability(
    probability: float,
    least: int,
    most: int,
    tiny_recipe: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    warmed_up = []
    warm_up = BandSplitGRU.warm_up

    def counted(model: BandSplitGRU, beginning: torch.Tensor) -> Any:
        warmed_up.append(beginning.shape)
        return warm_up(model, beginning)

    monkeypatch.setattr(BandSplitGRU, "warm_up", counted)
    settings = ["train.steps=12", f"train.warm_up_probability={probability}", "validation.count=0"]
    train(tiny_recipe | {"model": WARMED_UP}, tmp_path, False, *settings)
    assert least <= len(warmed_up) <= most
    assert set(warmed_up) <= {(2, 1, 4000)}


def test_a_model_without_warm_up_is_not_asked_to(tiny_recipe: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"warm_up_probability must be 0: cleanunet has no warm-up"):
        train(tiny_recipe, tmp_path, False, "train.warm_up_probability=0.5")


def test_a_run_reports_preparations_before_its_first_step(
    tiny_recipe: dict[str, Any], tmp_path: Path
) -> None:
    arguments: list[tuple[str, Any]] = []

    class Listener(StopAfter):
        def preparing(self, *words: Any) -> None:
            arguments.append(("preparing", words))

        def decoding(self, done: int, count: int | None) -> None:
            arguments.append(("decoding", (done, count)))

        def started(self, *words: Any) -> None:
            arguments.append(("started", words))

    tiny_recipe["data"]["cache"] = str(tmp_path / "cache")
    Trainer(recipe.parse(tiny_recipe, "tiny"), tmp_path / "run", "cpu", Listener(9)).run()
    names = [name for name, _ in arguments]
    assert names[0] == "preparing"
    assert names.index("decoding") < names.index("started")
    decoded = [words for name, words in arguments if name == "decoding"]
    assert decoded[-1][0] == decoded[-1][1]
