"""Weights to begin with, and parts that stay as they are."""

from __future__ import annotations

import shlex
import shutil
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest
import torch

from audiotool import checkpoint, recipe
from audiotool.errors import CheckpointError, RecipeError
from audiotool.models.band_split_gru import BandSplitGRU
from audiotool.models.base import Model
from audiotool.models.cleanunet import CleanUNet
from audiotool.models.full_band_gru import FullBandGRU
from audiotool.training.history import History, joined_sources
from audiotool.training.setup import begin_from, build_model
from audiotool.training.trainer import Trainer


def initialised(values: dict[str, Any], *settings: str) -> Model:
    """The model a recipe begins with."""
    parsed = recipe.parse(values, "tiny", settings)
    model = build_model(parsed)
    begin_from(model, parsed.init)
    return model


@pytest.fixture
def weights(tiny_recipe: dict[str, Any], tmp_path: Path) -> Path:
    torch.manual_seed(7)
    model = CleanUNet.from_config(tiny_recipe["model"]["config"])
    path = tmp_path / "first.safetensors"
    metadata = checkpoint.Metadata("denoise", checkpoint.describe_model(model), 16000)
    checkpoint.save(path, model.state_dict(), metadata)
    return path


def test_weights_are_random_by_seed(tiny_recipe: dict[str, Any]) -> None:
    first, repeated, other = (
        build_model(recipe.parse(tiny_recipe, "tiny", [f"train.seed={seed}"])).state_dict()
        for seed in (0, 0, 1)
    )
    torch.testing.assert_close(first, repeated, rtol=0, atol=0)
    assert not torch.equal(first["tsfm_conv1.weight"], other["tsfm_conv1.weight"])


def test_training_begins_with_another_checkpoint(
    tiny_recipe: dict[str, Any], weights: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model = initialised(tiny_recipe, f"init.checkpoint={weights}")
    torch.testing.assert_close(model.state_dict(), checkpoint.load(weights)[0].state_dict(), rtol=0, atol=0)
    assert not caplog.records


def test_settings_that_no_weight_shows_are_named(
    tiny_recipe: dict[str, Any], weights: Path, caplog: pytest.LogCaptureFixture
) -> None:
    own = checkpoint.load(weights)[0].config.attention_window
    changed = [f"init.checkpoint={weights}", f"model.config.attention_window={own + 1}"]
    initialised(tiny_recipe, *changed)
    assert caplog.messages == [
        f"{weights} has other settings than the recipe, in which its weights make another network: keep them"
        f" with --set model.config.attention_window={own}"
    ]
    caplog.clear()
    initialised(tiny_recipe, *changed, f"model.config.attention_window={own}")
    assert not caplog.records


def test_skipped_tensors_stay_random(
    tiny_recipe: dict[str, Any], weights: Path, caplog: pytest.LogCaptureFixture
) -> None:
    wider = ["model.config.transformer_inner_dim=64", f"init.checkpoint={weights}"]
    with pytest.raises(CheckpointError, match=r"of another shape.*init\.skip") as caught:
        initialised(tiny_recipe, *wider)
    own = checkpoint.load(weights)[0].config.transformer_inner_dim
    assert (
        f"With --set model.config.transformer_inner_dim={own} the recipe's network is the checkpoint's."
    ) in str(caught.value)
    skip = "init.skip=['*.pos_ffn.w_*']"
    model = initialised(tiny_recipe, *wider, skip)
    assert not caplog.records
    taken = checkpoint.load(weights)[0].state_dict()
    assert torch.equal(model.state_dict()["encoder.0.0.weight"], taken["encoder.0.0.weight"])


def test_begins_with_the_same_architecture_only(tiny_recipe: dict[str, Any], weights: Path) -> None:
    values = tiny_recipe | {"model": {"name": "gtcrn"}, "init": {"checkpoint": str(weights)}}
    with pytest.raises(CheckpointError, match="holds a cleanunet, the recipe trains a gtcrn"):
        initialised(values)


def test_a_model_begins_with_one_that_it_extends_and_not_the_reverse(
    tiny_recipe: dict[str, Any], tmp_path: Path
) -> None:
    low, wide = {"dim": 4, "layers": 1}, {"dim": 4, "layers": 1, "upper_dim": 4, "upper_layers": 1}
    paths = {}
    for model in (BandSplitGRU.from_config(low), FullBandGRU.from_config(wide)):
        paths[model.name] = tmp_path / f"{model.name}.safetensors"
        metadata = checkpoint.Metadata("denoise", checkpoint.describe_model(model), model.sample_rate)
        checkpoint.save(paths[model.name], model.state_dict(), metadata)
    values = tiny_recipe | {
        "model": {"name": "full-band-gru", "config": wide},
        "audio": tiny_recipe["audio"] | {"sample_rate": 48000},
        "init": {"checkpoint": str(paths["band-split-gru"]), "skip": ["upper.*"]},
    }
    taken, initial = (
        initialised(values).state_dict(),
        checkpoint.load(paths["band-split-gru"])[0].state_dict(),
    )
    assert {name for name in taken if not name.startswith("upper.")} == initial.keys()
    torch.testing.assert_close({name: taken[name] for name in initial}, initial, rtol=0, atol=0)
    back = tiny_recipe | {
        "model": {"name": "band-split-gru", "config": low},
        "init": {"checkpoint": str(paths["full-band-gru"])},
    }
    with pytest.raises(CheckpointError, match="holds a full-band-gru, the recipe trains a band-split-gru"):
        initialised(back)


def test_frozen_parts_do_not_move(tiny_recipe: dict[str, Any], tmp_path: Path) -> None:
    settings = ["freeze=['encoder.*', 'tsfm_*']", "validation.count=0", "train.ema=0"]
    parsed = recipe.parse(tiny_recipe, "tiny", settings)
    before = build_model(parsed).state_dict()
    trainer = Trainer(parsed, tmp_path, "cpu")
    trainer.run()
    for name, value in trainer.current.model.state_dict().items():
        assert torch.equal(value, before[name]) == (not name.startswith("decoder")), name


AUDIO = Path(__file__).parents[1] / "data" / "audio"


@pytest.mark.parametrize("frozen", ["encoder.*", "encoder.0.bn.*"])
def test_statistics_of_frozen_parts_do_not_move(
    tiny_recipe: dict[str, Any], tmp_path: Path, frozen: str
) -> None:
    tiny_recipe["model"] = {"name": "gtcrn"}
    settings = [f"freeze=['{frozen}']", "train.steps=2", "validation.count=0", "train.ema=0"]
    parsed = recipe.parse(tiny_recipe, "tiny", settings)
    before = build_model(parsed).state_dict()
    trainer = Trainer(parsed, tmp_path, "cpu")
    trainer.run()
    statistics = {k: v for k, v in trainer.current.model.state_dict().items() if "running" in k}
    for name, value in statistics.items():
        assert torch.equal(value, before[name]) == fnmatchcase(name, frozen), name


SHORT = ["train.steps=2", "validation.count=0", "audio.segment_seconds=0.36"]
TWO_STEPS = {"steps": 2, "examples": 4, "hours_of_audio": 0.0}


def amounts(training: dict[str, Any]) -> dict[str, Any]:
    """Return the facts that are the same on every machine."""
    return {key: value for key, value in training.items() if key in ("checkpoint", *TWO_STEPS)}


def test_fine_tuning_keeps_the_licence_trail_and_counts_on(
    tiny_recipe: dict[str, Any], weights: Path, tmp_path: Path
) -> None:
    model, parent = checkpoint.load(weights)
    parent.sources = [
        {"name": "LJSpeech-1.1", "licence": "public-domain", "seconds": 9000.0},
        {"name": "elsewhere", "licence": "CC-BY-NC-4.0"},
    ]
    parent.training = {"steps": 100, "examples": 800, "hours_of_audio": 2.5, "hours": 1.5, "torch": "2"}
    checkpoint.save(weights, model.state_dict(), parent)
    Trainer(recipe.parse(tiny_recipe, "tiny", [*SHORT, f"init.checkpoint={weights}"]), tmp_path / "a").run()
    child = tmp_path / "a" / "tiny.safetensors"
    found = checkpoint.read_metadata(child)
    assert amounts(found.training) == TWO_STEPS
    before = {"steps": 100, "examples": 800, "hours_of_audio": 2.5, "hours": 1.5}
    assert found.training["before"] == {"checkpoint": "first", **before}
    trail = {(s["name"], s["licence"]): s.get("seconds") for s in found.sources}
    assert trail["LJSpeech-1.1", "public-domain"] == 9000.0
    assert trail["elsewhere", "CC-BY-NC-4.0"] is None
    assert len(trail) == len(found.sources) > 2
    # Facts of earlier trainings are summed up over generations.
    Trainer(recipe.parse(tiny_recipe, "tiny", [*SHORT, f"init.checkpoint={child}"]), tmp_path / "b").run()
    further = checkpoint.read_metadata(tmp_path / "b" / "tiny.safetensors")
    assert further.sources == found.sources
    assert amounts(further.training["before"]) == {
        "checkpoint": "tiny",
        "steps": 102,
        "examples": 804,
        "hours_of_audio": 2.5,
    }


@pytest.mark.parametrize(
    ("parent", "own", "licence"),
    [
        ("CC-BY-NC-4.0", "MIT", "MIT AND CC-BY-NC-4.0"),
        ("MIT AND CC-BY-NC-4.0", "MIT", "MIT AND CC-BY-NC-4.0"),
        ("MIT OR Apache-2.0", "BSD-3-Clause", "BSD-3-Clause AND (MIT OR Apache-2.0)"),
        ("MIT OR Apache-2.0", "MIT", "MIT"),
        ("unknown", "MIT", "MIT AND unknown"),
        ("MIT", "MIT", "MIT"),
        ("", "MIT", "MIT"),
    ],
)
def test_licences_of_the_recipe_and_the_first_weights_both_count(parent: str, own: str, licence: str) -> None:
    before = checkpoint.Metadata("denoise", {}, 16000, licence=parent)
    assert History.of("x", before).licence_with(own) == licence


def test_fine_tuned_weights_keep_the_licence_of_the_first(
    tiny_recipe: dict[str, Any], weights: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model, parent = checkpoint.load(weights)
    parent.licence = "unknown: see the publisher's terms"
    checkpoint.save(weights, model.state_dict(), parent)
    settings = [*SHORT, f"init.checkpoint={weights}", "train.steps=2", "licence=MIT"]
    Trainer(recipe.parse(tiny_recipe, "tiny", settings), tmp_path / "run", "cpu").run()
    made = tmp_path / "run" / "tiny.safetensors"
    assert checkpoint.read_metadata(made).licence == f"MIT AND {parent.licence}"
    [warning] = [m for m in caplog.messages if f"'{parent.licence}', the recipe says 'MIT'" in m]
    # What the warning advises is understood by a shell and by YAML, and ends it.
    words = shlex.split(warning.partition("; ")[2])
    settings += [words[words.index("--set") + 1], "train.steps=3"]
    caplog.clear()
    Trainer(recipe.parse(tiny_recipe, "tiny", settings), tmp_path / "run", "cpu").run(resume=True)
    assert checkpoint.read_metadata(made).licence == parent.licence
    assert "the recipe says" not in caplog.text


def test_history_outlives_the_checkpoint_it_came_from(
    tiny_recipe: dict[str, Any], weights: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    Trainer(recipe.parse(tiny_recipe, "tiny", [*SHORT, f"init.checkpoint={weights}"]), folder).run()
    before = checkpoint.read_metadata(folder / "tiny.safetensors")
    weights.unlink()
    longer = [*SHORT, f"init.checkpoint={weights}", "train.steps=3"]
    Trainer(recipe.parse(tiny_recipe, "tiny", longer), folder).run(resume=True)
    after = checkpoint.read_metadata(folder / "tiny.safetensors")
    assert (after.training["steps"], after.training["before"]) == (3, {"checkpoint": "first"})
    assert after.sources == before.sources
    assert {"name": "data of first", "licence": "unknown"} in after.sources


def test_a_run_that_has_its_weights_takes_no_others(
    tiny_recipe: dict[str, Any], weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def resumed(run: str, *settings: str) -> None:
        parsed = recipe.parse(tiny_recipe, "tiny", [*SHORT, *settings])
        Trainer(parsed, tmp_path / run, "cpu").run(resume=True)

    resumed("random")
    with pytest.raises(RecipeError, match=r"init\.checkpoint: None became '.*first.*start a new run"):
        resumed("random", f"init.checkpoint={weights}")
    assert "checkpoint: null" in (tmp_path / "random" / "recipe.yaml").read_text()
    # One file has many paths.
    monkeypatch.chdir(tmp_path)
    resumed("tuned", "init.checkpoint=first.safetensors")
    resumed("tuned", f"init.checkpoint={weights}")
    with pytest.raises(RecipeError, match=r"init\.checkpoint: '.*first\.safetensors' became None"):
        resumed("tuned")
    weights.rename(tmp_path / "moved.safetensors")
    resumed("tuned", "init.checkpoint=first.safetensors")


def test_a_run_without_a_state_goes_on_from_any_folder(
    tiny_recipe: dict[str, Any], weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    settings = [*SHORT, f"init.checkpoint={weights.name}", "data.cache=cache"]
    Trainer(recipe.parse(tiny_recipe, "tiny", settings), tmp_path / "run", "cpu").run()
    kept = (tmp_path / "run" / "recipe.yaml").read_text()
    shutil.rmtree(tmp_path / "run")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "recipe.yaml").write_text(kept)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    Trainer(recipe.load(tmp_path / "run" / "recipe.yaml"), tmp_path / "run", "cpu").run(resume=True)
    assert not list(elsewhere.iterdir())


def test_sources_of_data_that_was_replaced_on_the_way_stay(
    tiny_recipe: dict[str, Any], tmp_path: Path
) -> None:
    manifest = tmp_path / "speech.csv"
    rows = (AUDIO / "manifest.csv").read_text().replace("speech/", f"{AUDIO}/speech/")
    tiny_recipe["data"] |= {"root": None, "speech": [str(manifest)], "noise": [str(AUDIO / "manifest.csv")]}
    names = ("first", "second", "third")
    for steps, name in enumerate(names, 1):
        manifest.write_text(rows.replace("LJSpeech-1.1", name))
        parsed = recipe.parse(tiny_recipe, "tiny", [f"train.steps={steps}", "validation.count=0"])
        Trainer(parsed, tmp_path / "run", "cpu").run(resume=steps > 1)
    found = checkpoint.read_metadata(tmp_path / "run" / "tiny.safetensors").sources
    assert set(names) <= {source["name"] for source in found}


def test_amounts_that_are_not_known_are_left_out() -> None:
    def past(training: dict[str, Any], parent: str | None = None) -> dict[str, Any]:
        made_by = {"init": {"checkpoint": parent}}
        return History.of("x", checkpoint.Metadata("denoise", {}, 16000, made_by, training=training)).training

    assert past({}) == {"checkpoint": "x"}
    assert past({"steps": 5, "hours_of_audio": None}) == {"checkpoint": "x", "steps": 5}
    assert past({"steps": 5, "hours": 1.0, "before": {"checkpoint": "y", "steps": 7}}) == {
        "checkpoint": "x",
        "steps": 12,
    }
    # Fine-tuned before its past was written down.
    assert past({"steps": 5}, parent="y") == {"checkpoint": "x"}


def test_the_same_material_counts_once() -> None:
    first: list[dict[str, Any]] = [
        {"name": "a", "licence": "MIT", "seconds": 3.0},
        {"name": "b", "licence": "MIT"},
    ]
    second: list[dict[str, Any]] = [
        {"name": "a", "licence": "CC0-1.0"},
        {"name": "b", "licence": "MIT", "seconds": 2.0},
    ]
    assert joined_sources(first, second, [{"name": "a", "licence": "MIT", "seconds": 1.0}]) == [
        {"name": "a", "licence": "CC0-1.0"},
        {"name": "a", "licence": "MIT", "seconds": 3.0},
        {"name": "b", "licence": "MIT", "seconds": 2.0},
    ]


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("freeze=['encodr.0.0.weight']", r"no parameter fits 'encodr\.0\.0\.weight'; did you mean 'encoder"),
        ("freeze=['*']", "nothing is left to train"),
        ("model.config.sample_rate=8000", "sample_rate is 16000 Hz, but model.config makes it 8000 Hz"),
    ],
)
def test_bad_beginnings_are_refused(tiny_recipe: dict[str, Any], setting: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        build_model(recipe.parse(tiny_recipe, "tiny", [setting]))
