"""The model that the docs add is one file and one recipe: it streams, trains and is listed."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch
from kit.command import run_command
from kit.plugin import install_plugin

import audiotool.models
from audiotool import recipe
from audiotool.models.base import Model
from audiotool.models.registry import MODELS
from audiotool.training.trainer import Trainer

ROOT = Path(__file__).parents[2]
AUDIO = ROOT / "tests" / "data" / "audio"


@pytest.fixture
def page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The page's model is a module of `audiotool.models`; returns the page's code by language."""
    text = (ROOT / "docs" / "extend" / "add.md").read_text(encoding="utf-8")
    code = {
        language: re.search(rf"```{language}\n(.*?)```", text, re.DOTALL) for language in ("python", "yaml")
    }
    found = {language: match[1] for language, match in code.items() if match}
    rooms = tmp_path / "rooms"
    rooms.mkdir()
    (rooms / "learnt_filter.py").write_text(found["python"], encoding="utf-8")
    monkeypatch.setattr(audiotool.models, "__path__", [*audiotool.models.__path__, str(rooms)])
    return found


def test_streamed_equals_whole(page: dict[str, str]) -> None:
    model = MODELS.get("learnt-filter").from_config().eval()
    x = torch.randn(1, 1, 5000, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        whole = model.process(x)
        state, parts = None, []
        for n, chunk in enumerate(chunks := x.split((1, 7, 992, 4000), dim=-1)):
            y, state = model.step(chunk, state, final=n == len(chunks) - 1)
            parts.append(y)
    torch.testing.assert_close(torch.cat(parts, dim=-1), whole)
    assert whole.abs().max() > 0


def train(text: str, tmp_path: Path) -> Model:
    """Two steps of a recipe, and the model of the checkpoint that they make."""
    (tmp_path / "recipe.yaml").write_text(text, encoding="utf-8")
    settings = [
        f"data.root={AUDIO}",
        f"data.cache={tmp_path / 'decoded'}",
        "data.speech=[manifest.csv]",
        "data.noise=[manifest.csv]",
        "data.workers=0",
        "data.mixing.reverberation_probability=0",
        "audio.segment_seconds=0.25",
        "train.steps=2",
        "train.batch_size=1",
        "validation.count=0",
        "logging.tensorboard=false",
    ]
    loaded = recipe.load(str(tmp_path / "recipe.yaml"), settings)
    summary = Trainer(loaded, tmp_path / "run", "cpu").run()
    assert (summary.step, summary.skipped) == (2, 0)
    exported = list((tmp_path / "run").rglob("*.safetensors"))
    assert exported
    return audiotool.load_model(str(exported[0]))


def test_recipe_trains(page: dict[str, str], tmp_path: Path) -> None:
    assert train(page["yaml"], tmp_path).name == "learnt-filter"


LOSS = """
from audiotool.losses.base import Loss

class TheirLoss(Loss):
    name = "their-loss"

    def __init__(self, power: float = 1.0) -> None:
        super().__init__()
        self.power = power

    def forward(self, outputs, batch):
        return (outputs["estimate"] - batch["target"]).abs().pow(self.power).mean()
"""


def test_the_model_and_the_loss_of_another_package_train(
    page: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    model = page["python"].replace("learnt-filter", "their-filter")
    points = {
        "audiotool.models": {"their-filter": "their_model:LearntFilter"},
        "audiotool.losses": {"their-loss": "their_loss:TheirLoss"},
    }
    install_plugin(tmp_path, "their-speech", {"their_model": model, "their_loss": LOSS}, points)
    text = page["yaml"].replace("learnt-filter", "their-filter")
    trained = train(text.replace("name: l1-waveform", "{name: their-loss, options: {power: 1.5}}"), tmp_path)
    assert trained.name == "their-filter"
    assert type(trained).__module__ == "their_model"


def test_models_of_other_packages_are_listed(
    page: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    model = page["python"].replace("learnt-filter", "listed-filter")
    broken = page["python"].replace("learnt-filter", "broken-filter").replace("config.taps,", "config.tap,")
    points = {"listed-filter": "listed_model:LearntFilter", "broken-filter": "broken_model:LearntFilter"}
    modules = {"listed_model": model, "broken_model": broken}
    install_plugin(tmp_path, "their-models", modules, {"audiotool.models": points})
    result = run_command("models", "list", "--json")
    assert result.exit_code == 0, result.output
    rows = {row["model"]: row for row in json.loads(result.stdout)["architectures"]}
    assert rows["listed-filter"]["parameters"] == 34
    assert rows["listed-filter"]["causal"]
    assert "broken-filter" not in rows
    assert "model 'broken-filter' of package their-models 1.0 is left out" in caplog.text


def test_it_is_listed(page: dict[str, str]) -> None:
    result = run_command("models", "show", "learnt-filter", "--full")
    assert result.exit_code == 0
    assert "taps" in result.output
