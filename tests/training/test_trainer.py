"""The loop: what a run leaves behind, exact resume, adversaries, accumulation, and what stops it."""

from __future__ import annotations

import itertools
import multiprocessing
import shutil
import sys
from collections.abc import Iterator
from concurrent.futures import BrokenExecutor, Future
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from kit.curves import curve

from audiotool import checkpoint, recipe
from audiotool.errors import CheckpointError, DeviceError, InputError, RecipeError
from audiotool.importers.base import import_checkpoint
from audiotool.losses.waveform import L1WaveformLoss
from audiotool.models.band_split_gru import BandSplitGRU
from audiotool.models.cleanunet import CleanUNet
from audiotool.models.gtcrn import GTCRN
from audiotool.training import folder as folder_module
from audiotool.training.records import Records
from audiotool.training.run import Run
from audiotool.training.trainer import Trainer
from audiotool.training.validation import Row, Validator
from audiotool.training.watch import Watch


def train(values: dict[str, Any], folder: Path, resume: bool = False, *settings: str) -> Any:
    return Trainer(recipe.parse(values, "tiny", settings), folder, "cpu").run(resume)


class StopAfter:
    """A listener that ends its trainer after a step."""

    def __init__(self, step: int) -> None:
        self.step = step
        self.trainer: Trainer | None = None

    def preparing(self, *arguments: Any) -> None: ...

    def decoding(self, *arguments: Any) -> None: ...

    def started(self, *arguments: Any) -> None: ...

    def stepped(self, step: int) -> None:
        if step == self.step and self.trainer is not None:
            self.trainer.stop()

    def logged(self, *arguments: Any) -> None: ...

    def validated(self, *arguments: Any) -> None: ...


def stopped_after(step: int, values: dict[str, Any], folder: Path) -> Trainer:
    listener = StopAfter(step)
    listener.trainer = Trainer(recipe.parse(values, "tiny"), folder, "cpu", listener)
    return listener.trainer


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


def test_exported_weights_are_the_average(tiny_recipe: dict[str, Any], tmp_path: Path) -> None:
    trainer = Trainer(recipe.parse(tiny_recipe, "tiny", ["validation.count=0"]), tmp_path, "cpu")
    trainer.run()
    exported = checkpoint.load(tmp_path / "tiny.safetensors")[0].state_dict()
    expected = {key: value.clone() for key, value in trainer.current.average.model.state_dict().items()}
    torch.testing.assert_close(exported, expected, rtol=0, atol=0)
    trained = trainer.current.model.state_dict()
    assert any(not torch.equal(exported[key], trained[key]) for key in trained)


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


class Late(Future[Row]):
    """A score that arrives only when it is waited for."""

    def done(self) -> bool:
        return False

    def result(self, timeout: float | None = None) -> Row:
        return {"si_sdr": 1.0}

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


class Unscored(Late):
    """A score that has no value."""

    def result(self, timeout: float | None = None) -> Row:
        return {"pesq": "shorter than 0.25 s", "si_sdr": 1.0}


def test_a_metric_that_no_recording_has_is_named_and_the_loss_chooses(
    tiny_recipe: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(Validator, "_submit", lambda *audio: Unscored())
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

    class Scored(Late):
        def result(self, timeout: float | None = None) -> Row:
            return {"pesq": 2.0}

    monkeypatch.setattr(Validator, "_submit", lambda *audio: Scored())
    train(tiny_recipe, tmp_path, False, "train.steps=3")
    monkeypatch.setattr(Validator, "_submit", lambda *audio: Unscored())
    assert train(tiny_recipe, tmp_path, True).best == (3, "pesq", 2.0)
    (said,) = (m for m in caplog.messages if "no recording has pesq" in m)
    assert said.endswith("shorter than 0.25 s")


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


def test_accumulation_equals_a_larger_batch(tiny_recipe: dict[str, Any], tmp_path: Path) -> None:
    train(tiny_recipe, tmp_path / "large", False, "train.batch_size=4")
    train(tiny_recipe, tmp_path / "small", False, "train.accumulate=2")
    for large, small in zip(
        curve(tmp_path / "large" / "train.csv"), curve(tmp_path / "small" / "train.csv"), strict=True
    ):
        assert float(large["loss"]) == pytest.approx(float(small["loss"]), rel=1e-4)


ADVERSARIAL = {
    "discriminators": [
        {"name": "parallel-wavegan", "config": {"layers": 3, "conv_channels": 4}},
        {"name": "melgan", "config": {"channels": 4, "max_downsample_channels": 8}, "weight": 0.5},
    ],
    "kind": "hinge",
    "start": 2,
    "clip": 1.0,
}


def test_adversarial_training_resumes_exactly(tiny_recipe: dict[str, Any], tmp_path: Path) -> None:
    tiny_recipe["adversarial"] = ADVERSARIAL
    tiny_recipe["validation"]["count"] = 0
    train(tiny_recipe, tmp_path / "whole")
    stopped_after(4, tiny_recipe, tmp_path / "parts").run()
    train(tiny_recipe, tmp_path / "parts", True)
    whole = curve(tmp_path / "whole" / "train.csv")
    assert curve(tmp_path / "parts" / "train.csv") == whole
    assert all(not row["discriminator"] for row in whole[:2])
    assert all(float(row["discriminator"]) > 0 for row in whole[2:])
    assert all(float(row["feature-matching"]) > 0 for row in whole[2:])


def test_accumulation_with_discriminators_equals_a_larger_batch(
    tiny_recipe: dict[str, Any], tmp_path: Path
) -> None:
    # A hinge's gradient of the last bias is zero but for rounding, which Adam would scale up.
    tiny_recipe["adversarial"] = ADVERSARIAL | {"start": 0, "kind": "least-squares"}
    tiny_recipe["validation"]["count"] = 0
    train(tiny_recipe, tmp_path / "large", False, "train.batch_size=4")
    train(tiny_recipe, tmp_path / "small", False, "train.accumulate=2")
    for large, small in zip(
        curve(tmp_path / "large" / "train.csv"), curve(tmp_path / "small" / "train.csv"), strict=True
    ):
        for name in ("loss", "discriminator", "adversarial", "feature-matching", "gradient_norm"):
            assert float(large[name]) == pytest.approx(float(small[name]), rel=1e-5), name


@pytest.mark.parametrize(("start", "expected"), [(9, "took gave took gave"), (0, "took took" + 4 * " gave")])
def test_batches_are_taken_ahead_for_discriminators_alone(
    start: int,
    expected: str,
    tiny_recipe: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    events: list[str] = []
    tiny_recipe["adversarial"] = ADVERSARIAL | {"start": start}
    tiny_recipe["validation"]["count"] = 0
    tiny_recipe["train"] |= {"steps": 1, "accumulate": 2}
    trainer = Trainer(recipe.parse(tiny_recipe, "tiny"), tmp_path, "cpu")
    compute, batches = CleanUNet.training_outputs, trainer.current.batches

    def computing(model: CleanUNet, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        events.append("gave")
        return compute(model, batch)

    def taken(decoding: Any) -> Iterator[dict[str, torch.Tensor]]:
        for batch in batches(decoding):
            events.append("took")
            yield batch

    monkeypatch.setattr(CleanUNet, "training_outputs", computing)
    monkeypatch.setattr(trainer.current, "batches", taken)
    trainer.run()
    assert " ".join(events) == expected


def test_outputs_that_are_computed_twice_are_the_same_and_count_once(
    tiny_recipe: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    computed: list[torch.Tensor] = []
    compute = GTCRN.training_outputs

    def drawing(model: GTCRN, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        estimate = compute(model, batch)["estimate"]
        computed.append((estimate + 0.1 * torch.rand_like(estimate)).detach())
        return {"estimate": estimate + computed[-1] - estimate.detach()}

    monkeypatch.setattr(GTCRN, "training_outputs", drawing)
    tiny_recipe["model"] = {"name": "gtcrn", "config": GTCRN.small}
    tiny_recipe["validation"]["count"] = 0
    tiny_recipe["train"] |= {"steps": 1, "accumulate": 3}
    buffers: list[dict[str, torch.Tensor]] = []
    # This discriminator draws, too.
    drawn = {"name": "residual-parallel-wavegan", "config": {"layers": 3, "dropout": 0.5}}
    for adversarial in (None, ADVERSARIAL | {"start": 0, "discriminators": [drawn]}):
        trainer = Trainer(
            recipe.parse(tiny_recipe | {"adversarial": adversarial}, "tiny"),
            tmp_path / str(len(buffers)),
            "cpu",
        )
        trainer.run()
        buffers.append(dict(trainer.current.model.named_buffers()))
    alone, first, second = (computed[n : n + 3] for n in (0, 3, 6))
    assert len(computed) == 9
    # Without a gradient other kernels compute them, which round differently.
    torch.testing.assert_close(first, second)
    torch.testing.assert_close(second, alone, rtol=0, atol=0)
    assert not torch.equal(first[0], first[1])
    assert any(name.endswith("num_batches_tracked") and int(b) == 3 for name, b in buffers[1].items())
    torch.testing.assert_close(buffers[0], buffers[1], rtol=0, atol=0)


def test_discriminators_learn_and_the_model_does_not_move_them(
    tiny_recipe: dict[str, Any], tmp_path: Path
) -> None:
    from audiotool.training.adversary import Adversary

    trainer = Trainer(recipe.parse(tiny_recipe | {"adversarial": ADVERSARIAL}, "tiny"), tmp_path, "cpu")
    section = trainer.recipe.adversarial
    assert section is not None
    adversary = Adversary(section, 10, 16000, trainer.current.fabric, fused=True)
    target = torch.randn(2, 1, 2000)
    outputs = {"estimate": torch.zeros(2, 1, 2000, requires_grad=True)}
    before = float(adversary.backward(outputs, target, 1.0))
    adversary.update(2)
    for _ in range(20):
        after = float(adversary.backward(outputs, target, 1.0))
        adversary.update(2)
    assert after < before
    assert outputs["estimate"].grad is None
    loss, _ = adversary.generator_loss(outputs, target)
    loss.backward()
    assert outputs["estimate"].grad is not None
    assert all(p.grad is None for p in adversary.discriminators.parameters())


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


def test_full_disk_keeps_the_last_state(
    tiny_recipe: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save = torch.save

    def save_until_full(state: Any, file: Any) -> None:
        if state["step"] == 4:
            file.write(b"half")
            raise OSError(28, "No space left on device")
        save(state, file)

    monkeypatch.setattr(folder_module.torch, "save", save_until_full)  # type: ignore[attr-defined]
    with pytest.raises(CheckpointError, match=r"disk is full.*intact"):
        train(tiny_recipe, tmp_path)
    assert [p.name for p in (tmp_path / "states").iterdir()] == ["step-0000000002.pt"]
    monkeypatch.undo()
    assert train(tiny_recipe, tmp_path, True).step == 6


def test_a_schedule_longer_than_the_run_is_named(
    tiny_recipe: dict[str, Any], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tiny_recipe["schedule"] = {"name": "trapezoid", "warmup_steps": 2, "decay_steps": 5}
    train(tiny_recipe, tmp_path / "run")
    assert [m for m in caplog.messages if "schedule.decay_steps (5)" in m and "6 steps" in m]


@pytest.mark.parametrize("schedule", [{"name": "constant"}, {"name": "cosine", "warmup_steps": 2}])
def test_an_adversary_that_begins_after_the_run_is_named(
    schedule: dict[str, Any], tiny_recipe: dict[str, Any], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tiny_recipe["adversarial"] = ADVERSARIAL | {"schedule": schedule, "start": 6}
    tiny_recipe["validation"]["count"] = 0
    train(tiny_recipe, tmp_path / "late")
    said = "adversarial.start (6) is beyond the run's 6 steps: no discriminator is trained"
    assert [m for m in caplog.messages if "steps" in m] == [said]
    caplog.clear()
    tiny_recipe["adversarial"]["start"] = 4
    train(tiny_recipe, tmp_path / "last")
    assert not [m for m in caplog.messages if "steps" in m]


def test_folder_that_cannot_be_made(tiny_recipe: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot write"):
        train(tiny_recipe, tmp_path / "file" / "run")


def test_folder_of_another_run_is_refused(tiny_recipe: dict[str, Any], tmp_path: Path) -> None:
    train(tiny_recipe, tmp_path, False, "train.steps=2")
    with pytest.raises(RecipeError, match=r"holds a run at step 2.*--resume"):
        train(tiny_recipe, tmp_path)
    with pytest.raises(RecipeError, match=r"optimiser\.lr: 0\.001 became 0\.002"):
        train(tiny_recipe, tmp_path, True, "optimiser.lr=2e-3")
    assert train(tiny_recipe, tmp_path, True, "train.steps=3").step == 3
    with pytest.raises(RecipeError, match=r"train\.steps: .* is at step 3, beyond 2"):
        train(tiny_recipe, tmp_path, True, "train.steps=2")


def test_results_without_states_are_not_overwritten(tiny_recipe: dict[str, Any], tmp_path: Path) -> None:
    train(tiny_recipe, tmp_path)
    best = (tmp_path / "tiny-best.safetensors").read_bytes()
    shutil.rmtree(tmp_path / "states")
    with pytest.raises(RecipeError, match="holds a run at step 6"):
        train(tiny_recipe, tmp_path)
    for settings in ([], ["train.steps=9"]):
        with pytest.raises(RecipeError, match=r"results of a run whose states are gone: choose another"):
            train(tiny_recipe, tmp_path, True, *settings)
    for table in ("train.csv", "valid.csv"):
        (tmp_path / table).unlink()
    with pytest.raises(RecipeError, match=r"tiny\.safetensors exists: choose another"):
        train(tiny_recipe, tmp_path)
    with pytest.raises(RecipeError, match="states are gone"):
        train(tiny_recipe, tmp_path, True)
    (tmp_path / ".saved").unlink()
    (tmp_path / "recipe.yaml").unlink()
    with pytest.raises(RecipeError, match="states are gone"):
        train(tiny_recipe, tmp_path, True)
    assert (tmp_path / "tiny-best.safetensors").read_bytes() == best


@pytest.mark.parametrize(
    ("first", "again"),
    [
        ({"checkpointing": {"every": 50}}, ["checkpointing.every=2"]),
        ({"validation": {"every": 2, "count": 0}, "logging": {"every": 10, "tensorboard": False}}, []),
    ],
)
def test_results_of_a_run_that_never_had_a_state_are_made_again(
    first: dict[str, Any], again: list[str], tiny_recipe: dict[str, Any], tmp_path: Path
) -> None:
    values = tiny_recipe | {"checkpointing": {"every": 50}} | first
    trainer = Trainer(recipe.parse(values, "tiny"), tmp_path, "cpu")
    step = trainer._step

    def killed_after_five(batches: Any) -> None:
        step(batches)
        if trainer.current.counters.step == 5:
            raise KeyboardInterrupt

    trainer._step = killed_after_five  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        trainer.run()
    assert (tmp_path / "tiny.safetensors").exists()
    assert train(values, tmp_path, True, *again).step == 6


@pytest.mark.parametrize("resume", [False, True])
def test_an_emptied_folder_is_that_of_a_new_run(
    resume: bool, tiny_recipe: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*inputs: Any) -> None:
        raise KeyboardInterrupt

    train(tiny_recipe, tmp_path, False, "train.steps=2")
    for path in tmp_path.glob("[!.]*"):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    with monkeypatch.context() as dying:
        dying.setattr(Run, "save", killed)
        with pytest.raises(KeyboardInterrupt):
            train(tiny_recipe, tmp_path, resume, "train.steps=2")
    assert train(tiny_recipe, tmp_path, True, "train.steps=2").step == 2


@pytest.mark.parametrize("killed_after", [1, 2])
def test_a_run_killed_before_its_first_state_begins_anew(
    tiny_recipe: dict[str, Any], tmp_path: Path, killed_after: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    writers: list[dict[str, Any]] = []

    class Writer:
        def __init__(self, folder: str, **options: Any) -> None:
            writers.append(options)

        def add_scalar(self, *values: Any) -> None: ...

        def close(self) -> None: ...

    def killed(*inputs: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", SimpleNamespace(SummaryWriter=Writer))
    tiny_recipe["validation"] |= {"every": 1, "metrics": []}
    tiny_recipe["logging"]["tensorboard"] = True
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    train(tiny_recipe, whole)
    with monkeypatch.context() as dying:
        if killed_after == 1:
            dying.setattr(Watch, "log", lambda watch: killed() if watch.run.counters.step == 2 else None)
        else:
            dying.setattr(Run, "save", killed)
        with pytest.raises(KeyboardInterrupt):
            train(tiny_recipe, parts)
    assert train(tiny_recipe, parts, True).step == 6
    for table in ("train.csv", "valid.csv"):
        assert curve(parts / table) == curve(whole / table)
    # The curves of the first attempt are removed.
    assert [options["purge_step"] for options in writers] == [1, 1, 1]


def test_unreadable_state_is_named(tiny_recipe: dict[str, Any], tmp_path: Path) -> None:
    train(tiny_recipe, tmp_path, False, "train.steps=2")
    state = tmp_path / "states" / "step-0000000002.pt"
    state.write_bytes(b"nonsense")
    with pytest.raises(CheckpointError, match=r"step-0000000002\.pt cannot be read.*delete it"):
        train(tiny_recipe, tmp_path, True)
    torch.save({"format": 99}, state)
    with pytest.raises(CheckpointError, match="state format 99"):
        train(tiny_recipe, tmp_path, True)


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


def test_a_run_stopped_before_it_was_validated_leaves_weights(
    tiny_recipe: dict[str, Any], tmp_path: Path
) -> None:
    trainer = stopped_after(2, tiny_recipe, tmp_path)
    summary = trainer.run()
    assert summary.interrupted
    model, metadata = checkpoint.load(summary.checkpoint)
    assert metadata.training["steps"] == 2
    assert "valid" not in metadata.metrics
    torch.testing.assert_close(model.state_dict(), trainer.current.average.model.state_dict(), rtol=0, atol=0)


def test_a_state_is_not_taken_for_an_official_checkpoint(tiny_recipe: dict[str, Any], tmp_path: Path) -> None:
    train(tiny_recipe, tmp_path)
    state = tmp_path / "states" / "step-0000000006.pt"
    for use in (checkpoint.load, lambda path: import_checkpoint(path, "cleanunet")):
        with pytest.raises(
            CheckpointError, match=r"state of a training.*take .*tiny-best\.safetensors.*--resume"
        ):
            use(state)
    plain = tmp_path / "plain.pt"
    torch.save({"weight": torch.zeros(3)}, plain)
    with pytest.raises(CheckpointError, match="models import"):
        checkpoint.load(plain)


def test_metric_processes_are_gone_when_a_run_ends(tiny_recipe: dict[str, Any], tmp_path: Path) -> None:
    tiny_recipe["validation"] |= {"metrics": ["si_sdr"], "metric": "si_sdr"}
    train(tiny_recipe, tmp_path)
    assert not multiprocessing.active_children()


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
