"""Discriminators in the loop: when they train, on which batches, exact resume, accumulation."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from kit.curves import curve
from kit.runs import stopped_after, train

from audiotool import recipe
from audiotool.errors import RecipeError
from audiotool.models.cleanunet import CleanUNet
from audiotool.models.discriminators.melgan import MelGANDiscriminator
from audiotool.models.gtcrn import GTCRN
from audiotool.recipe.schema import AdversarialSection
from audiotool.training.adversary import Adversary, Discriminators
from audiotool.training.trainer import Trainer

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
    # Where they begin inside an interval of the log, their means are those of their steps.
    train(tiny_recipe, tmp_path / "seldom", False, "logging.every=6")
    [row] = curve(tmp_path / "seldom" / "train.csv")
    for name, begin in (("loss", 0), ("discriminator", 2), ("adversarial", 2), ("feature-matching", 2)):
        mean = sum(float(each[name]) for each in whole[begin:]) / len(whole[begin:])
        assert float(row[name]) == pytest.approx(mean, rel=1e-5), name


def test_discriminators_have_their_rate_at_the_steps_of_the_run(
    tiny_recipe: dict[str, Any], tmp_path: Path
) -> None:
    schedule = {"name": "step", "at": [4], "factor": 0.1}
    tiny_recipe["adversarial"] = ADVERSARIAL | {"schedule": schedule, "optimiser": {"name": "adamw", "lr": 1}}
    tiny_recipe["validation"]["count"] = 0
    train(tiny_recipe, tmp_path)
    rates = [row["discriminator_rate"] for row in curve(tmp_path / "train.csv")]
    assert rates == ["", "", "1", "1", "0.1", "0.1"]


def test_accumulation_with_discriminators_equals_a_larger_batch(
    tiny_recipe: dict[str, Any], tmp_path: Path
) -> None:
    # A hinge's gradient of the last bias is zero but for rounding, which Adam would scale up.
    tiny_recipe["adversarial"] = ADVERSARIAL | {"start": 0, "kind": "least-squares"}
    tiny_recipe["validation"]["count"] = 0
    # Each step multiplies the rounding of the one before: three show whether sums and order are the same.
    train(tiny_recipe, tmp_path / "large", False, "train.batch_size=4", "train.steps=3")
    train(tiny_recipe, tmp_path / "small", False, "train.accumulate=2", "train.steps=3")
    for large, small in zip(
        curve(tmp_path / "large" / "train.csv"), curve(tmp_path / "small" / "train.csv"), strict=True
    ):
        for name in ("loss", "discriminator", "adversarial", "feature-matching", "gradient_norm"):
            assert float(large[name]) == pytest.approx(float(small[name]), rel=1e-5), name


def _mixed_up(waveform: torch.Tensor) -> Any:
    return [[waveform, waveform[:, :, :3]]]


@pytest.mark.parametrize(
    "answer", [_mixed_up, lambda w: w, lambda w: [], lambda w: [(w, [w[0]])], lambda w: [(w, [], w)]]
)
def test_a_discriminator_of_another_structure_is_named(
    answer: Callable[[torch.Tensor], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(MelGANDiscriminator, "forward", lambda self, waveform: answer(waveform))
    discriminators = Discriminators(
        AdversarialSection.model_validate({"discriminators": [{"name": "melgan"}]})
    )
    waveform = torch.zeros(2, 1, 100)
    with pytest.raises(RecipeError, match=r"melgan has to return \[\(logits, \[features,"):
        discriminators({"estimate": waveform}, waveform)


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
