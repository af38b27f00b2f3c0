"""The core's packages run all bundled checkpoints without PyTorch."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
from kit.audio import speech_like, write_speech
from kit.command import LISTING
from kit.light import LightInstallation

from audiotool import checkpoint, named_checkpoints, recipe

OFFICIAL = Path(__file__).parent / "data" / "parity" / "gtcrn"

WITH_GRAPHS = [
    task
    for task in named_checkpoints.defaults()
    if checkpoint.graph_of(named_checkpoints.default_for(task)) is not None
]
"""Tasks whose default checkpoint has a graph."""


@pytest.fixture(scope="module")
def light(tmp_path_factory: pytest.TempPathFactory) -> LightInstallation:
    return LightInstallation(tmp_path_factory.mktemp("light"))


@pytest.mark.parametrize("task", WITH_GRAPHS)
def test_a_task_runs(light: LightInstallation, task: str, tmp_path: Path) -> None:
    source = write_speech(tmp_path / "in.wav", 1.0, 22050, 2)
    reports = [word for name in ("report.json", "page.html") for word in ("--report", tmp_path / name)]
    done = light.audiotool(task, source, "-o", tmp_path / "out.wav", *reports)
    assert done.returncode == 0, done.stderr
    assert '"done"' in (tmp_path / "report.json").read_text()
    assert "data:image/png" in (tmp_path / "page.html").read_text()
    outputs = list(tmp_path.glob("out*.wav"))
    assert outputs
    for path in outputs:
        info = soundfile.info(str(path))
        assert (info.channels, info.duration) == (2, pytest.approx(1.0, abs=1e-3))
        assert np.abs(soundfile.read(str(path))[0]).max() > 0


@pytest.mark.skipif("denoise" not in WITH_GRAPHS, reason="the default denoiser has no graph")
def test_arrays_streams_and_workers(light: LightInstallation, tmp_path: Path) -> None:
    program = (
        "import sys, numpy as np, audiotool\n"
        "x = np.load(sys.argv[1]); p = audiotool.load('denoise')\n"
        "y = p(x, 16000); z = np.concatenate(list(p.stream(np.array_split(x, 9, axis=1), 16000)), axis=1)\n"
        "live = p.live(48000, 2); out = [live.feed(x), live.flush()]\n"
        "assert np.abs(y - z).max() <= 1e-5 * np.abs(y).max()\n"
        "assert sum(o.shape[1] for o in out) == x.shape[1]\n"
        "assert audiotool.score(x[0], y[0], 16000, ['si_sdr', 'snr'])['si_sdr'].value is not None\n"
        "heavy = {'torch', 'scipy', 'pydantic'} & set(sys.modules); assert not heavy, heavy\n"
    )
    np.save(tmp_path / "x.npy", speech_like(3.0, 16000, 2))
    done = light.run("-c", program, tmp_path / "x.npy")
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "in"
    folder.mkdir()
    for name in "abc":
        write_speech(folder / f"{name}.wav", 0.3)
    done = light.audiotool("denoise", folder, "-o", tmp_path / "out", "--jobs", "2")
    assert done.returncode == 0, done.stderr
    assert len(list((tmp_path / "out").iterdir())) == 3


def test_torch_is_all_that_an_imported_checkpoint_needs(tmp_path: Path) -> None:
    """`models import`, with a setting, and what it made; neither needs what trains and scores."""
    (tmp_path / "packages").mkdir()
    installation = LightInstallation(tmp_path / "packages", ["torch"])
    official, output = OFFICIAL / "model_trained_on_dns3.tar", tmp_path / "gtcrn.safetensors"
    words = ("import", official, "--model", "gtcrn", "--set", "sample_rate=16000", "-o", output)
    done = installation.audiotool("models", *words)
    assert (done.returncode, done.stdout) == (0, f"{output}\n"), done.stderr
    source = write_speech(tmp_path / "in.wav", 0.5, 48000, 2)
    done = installation.audiotool(
        "denoise", source, "-o", tmp_path / "out.wav", "--checkpoint", output, "--device", "cpu"
    )
    assert done.returncode == 0, done.stderr
    assert soundfile.info(str(tmp_path / "out.wav")).frames == 24000


def test_an_imported_checkpoint_is_described_without_torch(
    light: LightInstallation, tmp_path: Path, tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AUDIOTOOL_HOME", str(tmp_path))
    (tmp_path / "checkpoints").mkdir()
    shutil.copy(tiny_checkpoint, tmp_path / "checkpoints" / "mine.safetensors")
    remark = "parameters and latency of mine.safetensors need torch, which is not installed"
    listed, shown, card = (
        light.audiotool("models", *words)
        for words in (("list", "--json"), ("show", "mine"), ("card", "mine", "-o", "-"))
    )
    for done in (listed, shown, card):
        assert done.returncode == 0, done.stderr
        assert remark in done.stderr
    found = json.loads(listed.stdout)
    assert found["faults"] == []
    (row,) = found["imported"]
    assert (row["checkpoint"], row["task"], row["sample_rate"]) == ("mine", "denoise", 16000)
    assert (row["parameters"], row["latency_ms"], row["causal"]) == (None, None, None)
    assert "\nlatency: unknown\n" in shown.stdout
    assert f"\nsha256: {checkpoint.sha256(tiny_checkpoint)}\n" in shown.stdout
    assert "| parameters | unknown |" in card.stdout


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (("show", "gtcrn"), "the architecture gtcrn"),
        (("import", "gtcrn"), "importing a checkpoint"),
    ],
)
def test_what_needs_torch_is_named(light: LightInstallation, words: tuple[str, ...], what: str) -> None:
    done = light.audiotool("models", *words)
    assert done.returncode == 2
    assert f"{what} needs torch, which is not installed" in done.stderr


@pytest.mark.parametrize(("name", "meant"), [("denoise-16kk", "denoise-16k"), ("gtcrnn", "gtcrn")])
def test_a_name_that_nothing_has_is_not_said_to_need_torch(
    light: LightInstallation, name: str, meant: str
) -> None:
    done = light.audiotool("models", "show", name)
    assert done.returncode == 2
    assert f"no architecture is called '{name}'; did you mean '{meant}'?" in done.stderr


PACKAGE = Path(checkpoint.__file__).parent


def imports_torch(path: Path) -> bool:
    return "\nimport torch\n" in path.read_text(encoding="utf-8")


HEAVY = (
    "audiotool.compat",
    "audiotool.models",
    "audiotool.losses",
    "audiotool.training",
    "audiotool.data",
    "audiotool.importers",
    "audiotool.exporting",
    "audiotool.serve",
    "audiotool.recipe",
    "audiotool.engines.pytorch",
    "audiotool.engines.cost",
    *(f"audiotool.dsp.{path.stem}" for path in PACKAGE.glob("dsp/*.py") if imports_torch(path)),
    "audiotool.audio.media_writer",
    "audiotool.__main__",
)
"""Rooms and modules that may import what an extra brings; of `dsp`, those that import PyTorch."""


def test_nothing_else_imports_packages_of_extras(light: LightInstallation) -> None:
    modules = [
        ".".join(("audiotool", *path.relative_to(PACKAGE).with_suffix("").parts))
        for path in sorted(PACKAGE.rglob("*.py"))
        if path.name != "__init__.py" and "bundled" not in path.parts
    ]
    modules = [name for name in modules if not name.startswith(HEAVY)]
    assert {"audiotool.pipeline", "audiotool.streaming.session", "audiotool.dsp.mel"} <= set(modules)
    done = light.run("-c", f"import importlib; [importlib.import_module(name) for name in {modules!r}]")
    assert done.returncode == 0, done.stderr


def test_recipes_are_listed_and_shown(light: LightInstallation) -> None:
    known = {name: recipe.load(name) for name in recipe.shipped()}
    expected = [{"name": n, "task": r.task, "description": r.description} for n, r in known.items()]
    assert json.loads(light.audiotool("recipes", "list", "--json").stdout)["recipes"] == expected
    assert set(light.audiotool("recipes", "list").stdout.split()) >= known.keys()
    shown = light.audiotool("recipes", "show", "denoise-tiny").stdout
    assert shown == recipe.find("denoise-tiny").read_text()


def test_mels_are_analysed(light: LightInstallation, tmp_path: Path) -> None:
    source = write_speech(tmp_path / "in.wav", 0.5, 22050)
    words = ("vocode", "--mel-only", source, "-o", tmp_path / "mel.safetensors", "--preset", "hifigan-22k")
    done = light.audiotool(*words)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "mel.safetensors").stat().st_size > 80 * 40 * 4


def test_scores_without_requirements_work_and_others_name_their_extra(
    light: LightInstallation, tmp_path: Path
) -> None:
    source = write_speech(tmp_path / "in.wav", 1.0)
    words = ("evaluate", "--reference", source, "--estimate", source, "--report", tmp_path / "report.json")
    done = light.audiotool(*words, "--task", "super-resolve")
    assert done.returncode == 0, done.stderr
    text = (tmp_path / "report.json").read_text()
    assert "audiotool-speech[pesq]" in text
    assert "audiotool-speech[stoi]" in text
    assert "audiotool-speech[torch]" in text
    assert "internal" not in done.stderr
    done = light.audiotool(*words, "--task", "separate", "--overwrite")
    assert "no sdr: sdr needs torchmetrics, which is not installed" in done.stderr
    assert "audiotool-speech[metrics]" in done.stderr
    done = light.audiotool(*words, "--metrics", "llr,wss,seg_snr", "--overwrite")
    assert done.returncode == 0, done.stderr
    assert "audiotool-speech" not in (tmp_path / "report.json").read_text()


@pytest.mark.parametrize(
    ("words", "extra"),
    [
        (("denoise", "IN", "-o", "OUT", "--checkpoint", "TINY"), "torch"),
        (("denoise", "IN", "-o", "OUT", "--cluster", "auto"), "cluster"),
        (("denoise", "s3://store/in.wav", "-o", "OUT"), "remote"),
        (("evaluate", "--reference", "IN", "--estimate", "IN", "--metrics", "si_sdr,sdr"), "metrics"),
        (("live",), "live"),
        (("serve",), "serve"),
        (("recipes", "losses"), "train"),
        (("models", "import", "deepfilternet3"), "deepfilternet"),
        (("models", "import", "dtln"), "onnx"),
        (("models", "import", "fastenhancer_s.onnx", "--model", "fastenhancer"), "onnx"),
        (("denoise", "IN", "-o", "OUT", "--engine", "torch"), "torch"),
        (("denoise", "IN", "-o", "OUT", "--device", "cuda"), "torch"),
        (("bench", "--model", "cleanunet"), "torch"),
        (("train", "denoise"), "train"),
        (("models", "export", "denoise-16k", "-o", "OUT.onnx"), "onnx"),
        (("recipes", "show", "denoise-tiny", "--resolved"), "train"),
        (("recipes", "validate", "denoise-tiny"), "train"),
        (("plot", "IN", "-o", "plot.png"), "plots"),
        (("models", "import", "IN", "--model", "cleanunet", "-o", "OUT.safetensors"), "torch"),
    ],
)
def test_a_missing_extra_is_one_line_with_the_command(
    light: LightInstallation, tiny_checkpoint: Path, tmp_path: Path, words: tuple[str, ...], extra: str
) -> None:
    places = {"IN": write_speech(tmp_path / "in.wav", 0.2), "OUT": tmp_path / "out.wav"}
    places |= {"TINY": tiny_checkpoint, "OUT.safetensors": tmp_path / "out.safetensors"}
    done = light.audiotool(*(places.get(word, word) for word in words))
    assert done.returncode == 2
    (line,) = done.stderr.strip().splitlines()
    assert f'pip install "audiotool-speech[{extra}]"' in line
    assert "internal" not in line


def test_the_doctor_finds_the_light_installation_well(light: LightInstallation) -> None:
    done = light.audiotool("doctor", "--json")
    found = {finding["what"]: finding for finding in json.loads(done.stdout)["findings"]}
    assert found["numpy"]["status"] == found["onnxruntime"]["status"] == "ok"
    assert "audiotool-speech[torch]" in found["extra torch"]["detail"]
    assert not [f for f in found.values() if f["status"] == "problem"]


def test_the_bare_network_names_its_extra(light: LightInstallation) -> None:
    lines = ("import audiotool", "try: audiotool.load_model('denoise-16k')")
    program = "\n".join((*lines, "except audiotool.DependencyError as error: print(error)"))
    assert 'pip install "audiotool-speech[torch]"' in light.run("-c", program).stdout


def test_a_plain_run_imports_only_what_it_uses(light: LightInstallation, tmp_path: Path) -> None:
    """Not what pipes, reports, workers, tables or plug-ins need, nor models that look ahead."""
    source = write_speech(tmp_path / "in.wav", 0.5)
    done = light.run("-c", LISTING, "denoise", source, "-o", tmp_path / "out.wav")
    assert done.returncode == 0, done.stderr
    loaded = set(done.stderr.split())
    assert "audiotool.files.waveforms" in loaded, "the list is of the whole run"
    unused = {"importlib.metadata", "multiprocessing", "platformdirs", "rich", "torch"}
    rooms = {"audio.pipe", "audio.pipe_writer", "audio.raw", "batch.pool", "dsp.bandwidth", "dsp.mel"}
    rooms |= {"report.report", "streaming.overlap_add"}
    assert not loaded & {*unused, *(f"audiotool.{room}" for room in rooms)}
