"""The task that the docs add is one file and one recipe: command, help, folders, pipes, report, training."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import soundfile
from kit.audio import write_speech
from kit.command import run_command
from typer.testing import Result

import audiotool
import audiotool.tasks
from audiotool.cli import live
from audiotool.tasks.base import TASKS
from audiotool.tasks.options import EngineKind

ROOT = Path(__file__).parents[2]
AUDIO = ROOT / "tests" / "data" / "audio"
SHORT = [
    f"data.root={AUDIO}",
    "data.speech=[manifest.csv]",
    "data.noise=[manifest.csv]",
    "data.rir=[manifest.csv]",
    "data.workers=0",
    "audio.segment_seconds=0.25",
    "train.steps=2",
    "train.batch_size=1",
    "validation.every=2",
    "validation.count=1",
    "validation.seconds=0.5",
    "validation.metrics=[si_sdr]",
    "validation.metric=si_sdr",
    "logging.tensorboard=false",
]


@pytest.fixture(autouse=True)
def page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The page's task is a module of `audiotool.tasks`, its recipe a file here."""
    text = (ROOT / "docs" / "extend" / "add.md").read_text(encoding="utf-8").partition("\n## A task\n")[2]
    python, yaml = (re.search(rf"```{kind}\n(.*?)```", text, re.DOTALL) for kind in ("python", "yaml"))
    assert python is not None
    assert yaml is not None
    room = tmp_path / "room"
    room.mkdir()
    (room / "dereverberate.py").write_text(python[1], encoding="utf-8")
    (tmp_path / "dereverberate.yaml").write_text(yaml[1], encoding="utf-8")
    monkeypatch.setattr(audiotool.tasks, "__path__", [*audiotool.tasks.__path__, str(room)])
    monkeypatch.chdir(tmp_path)


def run(*words: str | Path, stdin: bytes | None = None) -> Result:
    return run_command(*words, input=stdin)


def test_the_command_and_its_help() -> None:
    assert "dereverberate" in run("--help").output
    text = run("dereverberate", "--help").output
    assert "Take the room out of speech" in text
    for option in ("--mix", "--residual", "--report", "--jobs"):
        assert option in text
    assert "--enroll" not in text


def test_models_that_serve_it() -> None:
    listed = json.loads(run("models", "list", "--json").output)["architectures"]
    served = {row["model"] for row in listed if "dereverberate" in row["tasks"]}
    assert {"gtcrn", "cleanunet", "conv-tasnet"} <= served
    assert not {"hifigan", "afilm"} & served


def test_mistakes_are_reported_first(tmp_path: Path) -> None:
    write_speech(tmp_path / "in.wav", 0.2)
    assert "no bundled checkpoint serves the task 'dereverberate'" in run("dereverberate", "in.wav").output
    for words in (("--model", "denoise-16k"), ("--checkpoint", AUDIO / "rooms.npz")):
        result = run("dereverberate", "in.wav", "-o", "out.wav", *words)
        assert result.exit_code == 2
        assert not Path("out.wav").exists()
    assert run("dereverberate", "in.wav", "-o", "out.xyz").exit_code == 2


@pytest.fixture
def trained() -> str:
    """The checkpoint after two steps of the recipe."""
    settings = [word for setting in (*SHORT, "data.cache=decoded") for word in ("--set", setting)]
    result = run("train", "dereverberate.yaml", "--device", "cpu", "--run", "runs/dereverberate", *settings)
    assert result.exit_code == 0, result.output
    path = "runs/dereverberate/dereverberate-best.safetensors"
    assert Path(path).is_file(), sorted(Path("runs").rglob("*"))
    return path


def test_it_is_trained_and_run(trained: str) -> None:
    first = write_speech(Path("in/a.wav"), 0.5, 16000)
    write_speech(Path("in/b/c.flac"), 0.5, 44100, 2)
    words = ("--checkpoint", trained, "--reference", "in", "--report", "report.json", "--residual", "rest")
    result = run("dereverberate", "in", "-o", "out", *words)
    assert result.exit_code == 0, result.output
    report = json.loads(Path("report.json").read_text())
    assert [row["file"] for row in report["files"]] == ["a.wav", "b/c.flac"]
    assert all(metric in report["files"][0] for metric in TASKS.get("dereverberate").scoring.metrics)
    info = soundfile.info("out/b/c.flac")
    assert (info.samplerate, info.channels, info.frames) == (44100, 2, 22050)
    assert Path("rest/a.wav").is_file()

    beside = run("dereverberate", "in/a.wav", "--checkpoint", trained)
    assert beside.exit_code == 0
    assert Path("in/a_dereverberated.wav").is_file()

    piped = run("dereverberate", "-", "-o", "piped.wav", "--checkpoint", trained, stdin=first.read_bytes())
    assert piped.exit_code == 0, piped.output
    assert soundfile.info("piped.wav").frames == 8000

    scores = run("evaluate", "--reference", "in", "--estimate", "out", "--task", "dereverberate", "--json")
    assert json.loads(scores.stdout)["files"][0]["si_sdr"] is not None

    assert audiotool.load(trained).task == "dereverberate"
    assert live._load(None, Path(trained), EngineKind.torch).task == "dereverberate"
    assert "task: dereverberate" in run("models", "show", trained).output
