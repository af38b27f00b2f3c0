"""The metric discriminator in training: real PESQ, its order in a step, what happens where there is none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from torch import Tensor

from audiotool import recipe
from audiotool.errors import RecipeError
from audiotool.losses.metric import metric_discriminator_loss, pesq_as_score
from audiotool.metrics.score import score
from audiotool.models.mp_senet import MPSENet, MPSENetConfig
from audiotool.recipe.schema import AdversarialSection
from audiotool.training import adversary as adversary_module
from audiotool.training.adversary import Adversary
from audiotool.training.fabric import make_fabric
from audiotool.training.trainer import Trainer

AUDIO = Path(__file__).parents[1] / "data" / "audio"
SECTION = AdversarialSection.model_validate(
    {
        "discriminators": [{"name": "metric", "config": {"channels": 4}}],
        "weight": 0.05,
        "feature_matching": 0.0,
        "optimiser": {"name": "adamw", "lr": 5e-4, "betas": [0.8, 0.99]},
    }
)


@pytest.fixture
def adversary() -> Adversary:
    torch.manual_seed(0)
    return Adversary(SECTION, 100, 16000, make_fabric("cpu", "fp32"), fused=True)


@pytest.fixture(scope="module")
def batch() -> dict[str, Tensor]:
    """Two seconds of speech in little and in much noise."""
    clean, _ = soundfile.read(str(AUDIO / "demo" / "clean.flac"), frames=32000, start=16000, dtype="float32")
    rng = np.random.default_rng(0)
    noisy = [clean + level * rng.standard_normal(len(clean)).astype(np.float32) for level in (0.003, 0.05)]
    return {
        "input": torch.from_numpy(np.stack(noisy))[:, None],
        "target": torch.from_numpy(np.stack([clean, clean]))[:, None],
    }


def outputs_of(batch: dict[str, Tensor]) -> dict[str, Tensor]:
    torch.manual_seed(0)
    model = MPSENet(MPSENetConfig(dense_channel=8, n_blocks=1, n_fft=64, hop_length=16, win_length=64))
    short = {key: value[..., 8000:16000] for key, value in batch.items()}
    return model.training_outputs(short) | {"estimate": batch["input"]}


def watch_scores(monkeypatch: pytest.MonkeyPatch) -> list[list[float | None]]:
    """Return the scores that the discriminator gets in every step."""
    received: list[list[float | None]] = []
    measure = adversary_module._pesq

    def watched(*arguments: Any) -> list[float | None]:
        received.append(measure(*arguments))
        return received[-1]

    monkeypatch.setattr(adversary_module, "_pesq", watched)
    return received


def test_discriminator_gets_the_pesq_of_every_estimate(
    adversary: Adversary, batch: dict[str, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    received = watch_scores(monkeypatch)
    outputs = outputs_of(batch)
    loss = adversary.backward(outputs, batch["target"], 1.0)
    pairs = zip(batch["target"], batch["input"], strict=True)
    expected = [score(t[0].numpy(), e[0].numpy(), 16000, ["pesq"])["pesq"].value for t, e in pairs]
    assert received == [expected]
    assert expected[0] > expected[1] + 0.5  # type: ignore[operator]
    assert loss.isfinite()
    # The discriminator has learnt from both terms, and the model's weights have not changed.
    assert all(p.grad is not None and p.grad.isfinite().all() for p in adversary.discriminators.parameters())
    assert outputs["scored_magnitude"].grad_fn is not None
    assert pesq_as_score(torch.tensor([1.0, 4.5])).tolist() == [0.0, 1.0]


def test_estimates_without_a_score_are_left_out(
    adversary: Adversary, batch: dict[str, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    received = watch_scores(monkeypatch)
    outputs = outputs_of(batch)
    outputs["estimate"] = outputs["estimate"] * torch.tensor([1.0, 0.0])[:, None, None]
    adversary.discriminators.eval()
    loss = adversary.backward(outputs, batch["target"], 1.0)
    assert received[0][0] is not None
    assert received[0][1] is None
    discriminator = adversary.discriminators.discriminators[0]
    magnitude = outputs["target_magnitude"]
    perfect = discriminator.score(magnitude, magnitude)  # type: ignore[operator]
    torch.testing.assert_close(loss, (perfect - 1).square().mean())
    assert metric_discriminator_loss(discriminator, outputs, [2.0, 3.0]) > loss  # type: ignore[arg-type]


def test_a_model_without_magnitudes_is_refused(adversary: Adversary, batch: dict[str, Tensor]) -> None:
    with pytest.raises(RecipeError, match=r"metric judges magnitudes.*mp-senet, mambattention"):
        adversary.backward({"estimate": batch["input"]}, batch["target"], 1.0)


def test_one_step_of_the_shipped_recipe(
    decoded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The published order: the discriminator learns and moves, then judges the model."""
    shipped = recipe.load("mp-senet")
    assert shipped.adversarial is not None
    assert (shipped.adversarial.weight, shipped.adversarial.feature_matching) == (0.05, 0.0)
    values = shipped.plain()
    values["model"]["config"] |= {"dense_channel": 8, "n_blocks": 1}
    values["data"] = {
        "root": str(AUDIO),
        "cache": str(decoded),
        "speech": ["manifest.csv"],
        "noise": ["manifest.csv"],
        "workers": 0,
        "mixing": {"noise_only_probability": 0, "reverberation_probability": 0, "snr_db": [10, 20]},
    }
    values["train"] |= {"steps": 1, "batch_size": 1}
    values["validation"] = {"count": 0}
    received = watch_scores(monkeypatch)
    order: list[str] = []
    for name in ("backward", "update", "generator_loss"):
        method = getattr(Adversary, name)

        def called(*arguments: Any, name: str = name, method: Any = method) -> Any:
            order.append(name)
            return method(*arguments)

        monkeypatch.setattr(Adversary, name, called)
    trainer = Trainer(recipe.parse(values, "tiny"), tmp_path, "cpu")
    summary = trainer.run()
    assert (summary.step, summary.skipped) == (1, 0)
    assert order == ["backward", "update", "generator_loss"]
    assert received[0][0] is not None
    assert 1.0 < received[0][0] < 4.7
