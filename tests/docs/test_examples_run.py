"""README and docs: the Python blocks run, and so do the shell blocks, on less than a second of sound.

What cannot run here is in `NOT_HERE`, with the reason; `test_commands.py` parses it all the same.
"""

from __future__ import annotations

import dataclasses
import glob
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from kit.audio import speech_like, write_speech
from kit.command import run_command
from kit.docs import PAGES, ROOT, shell_lines
from kit.patience import PATIENCE
from typer.main import get_command

import audiotool
from audiotool import named_checkpoints
from audiotool.cli import train
from audiotool.recipe import load

PYTHON = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)

NOT_HERE = {
    "audiotool train ": "trains: test_trainings below, tests/training and tests/cli/test_train.py",
    "audiotool live ": "needs a sound card: tests/live",
    "audiotool serve": "runs for ever: tests/serve",
    "audiotool doctor": "tells about the machine: tests/cli/test_doctor.py",
    "audiotool data prepare ": "needs a whole corpus: tests/data/test_corpora.py",
    "audiotool data mix ": "needs the corpora of the weights: tests/cli/test_data_command.py",
    "audiotool models import ": "needs files of other projects: tests/importers",
    "--checkpoint cleanunet.safetensors": "the same",
    "--metrics mapss": "needs another interpreter: tests/metrics/test_mapss.py",
    "--cluster ": "needs Ray: tests/batch/test_cluster.py",
    "--enroll ": "needs a personalised model: tests/cli/test_denoise_models.py",
    "GL.safetensors": "needs what a script makes: tests/scripts/test_reconfigure_checkpoint.py",
    "s3://": "needs a server of objects: tests/batch/test_remote.py",
}
"""A part of a command line -> why no line with it runs here, and what tests it."""

IMPORTED = re.compile(r"models import (?:.* --name )?(\w[\w-]*)(?= |$)")
"""The name under which a page imports weights."""

ENDS_WITH_ONE = ("--fail-under", "report merge report-*-of-0064.json")
"""Parts of a command line that exits with 1 as expected: no file is so good, and one shard of 64 has run."""

FOLDERS = {
    *("recordings", "takes", "truth", "clean", "noisy", "cleaned", "out", "archive", "speech", "noise"),
    *("mixtures", "voices", "calls", "videos"),
    *("TEST/noisy", "TEST/clean"),
}
OUTPUTS = ("-o", "--report", "--plot")
TRAINING = "audiotool train "


@pytest.mark.parametrize("page", ["README.md", "docs/guides/python.md"])
def test_python_blocks(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs" / "mine").mkdir(parents=True)
    shutil.copy(
        named_checkpoints.resolve("denoise-tiny-16k"), tmp_path / "runs" / "mine" / "mine-best.safetensors"
    )
    waveform = speech_like(1.0, 16000)[0]
    blocks = np.split(waveform, 10)
    consumed: list[object] = []
    provide(Path("mel.npy"))
    names = {
        "mel": np.load("mel.npy"),
        "waveform": waveform,
        "clean": waveform,
        "samples": blocks[0],
        "sample_rate": 16000,
        "blocks": blocks,
        "block": blocks[0],
        "microphone": blocks,
        "consume": consumed.append,
        "dataclasses": dataclasses,
    }
    found = PYTHON.findall((ROOT / page).read_text(encoding="utf-8"))
    assert found
    for block in found:
        exec(compile(block, page, "exec"), names)
    assert names["enhanced"].shape == waveform.shape


def test_python_blocks_that_are_programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    provide(Path("recordings"))
    blocks = PYTHON.findall((ROOT / "docs/guides/python.md").read_text(encoding="utf-8"))
    [program] = [block for block in blocks if "__main__" in block]
    (tmp_path / "program.py").write_text(program)
    subprocess.run([sys.executable, "program.py"], check=True, timeout=PATIENCE)
    assert {path.name for path in tmp_path.glob("*_enhanced.wav")} == {"a_enhanced.wav", "b_enhanced.wav"}


def runnable(page: str) -> list[str]:
    return [line for line in commands(page) if not why_not(line, page)]


def commands(page: str) -> list[str]:
    return [line for line in shell_lines(page) if "audiotool " in line]


def why_not(line: str, page: str) -> str:
    """Return why a line does not run here, or ""."""
    model = re.search(r"--model (\S+)", line)
    imported = [again for other in commands(page) for again in IMPORTED.findall(other)]
    exported = re.search(r"models export (\S+)", line)
    named = {match[1] for match in (model, exported) if match is not None}
    if "models import" not in line and named & set(imported):
        return "needs what the page imports: tests/importers"
    words = f"{line} "
    return next((reason for part, reason in NOT_HERE.items() if part in words), "")


def provide(path: Path) -> None:
    """Make what a page takes for granted: a recording, a folder of two, a list, a report, a checkpoint."""
    if path.exists() or path.is_absolute():
        return
    if path.suffix in (".wav", ".flac"):
        write_speech(path, 0.6, {"phone": 8000, "talk-48k": 48000}.get(path.stem, 16000))
    elif path.suffix == ".mp4":
        audiotool.write(path, speech_like(0.6, 48000, 2), 48000)
    elif path.name == "mel.npy":
        np.save(path, np.full((100, 40), -5.0, np.float32))
    elif path.suffix == ".safetensors":
        path.parent.mkdir(parents=True)
        shutil.copy(named_checkpoints.resolve("denoise-tiny-16k"), path)
    elif path.suffix in (".csv", ".txt") and path.name.startswith("files"):
        provide(Path("recordings"))
        found = sorted(map(str, Path("recordings").glob("*.wav")))
        path.write_text("\n".join(["input", *found] if path.suffix == ".csv" else found) + "\n")
    elif path.name in ("scores.json", "other.json") or path.match("report-*.csv"):
        made = ["--report", f"{path.name}"] if "*" not in path.name else reports_of_shards(path.name)
        call(f"audiotool evaluate --reference truth/ --estimate cleaned/ {shlex.join(made)}", b"")
    elif path.as_posix() in FOLDERS:
        # In speech for training the folder is the speaker. Two voices have a reference each.
        voices = [f"{name}.speaker{n}" for name in "ab" for n in (1, 2)]
        names = {"speech": ["1/a", "2/a"], "clean": ["a", "b", *voices], "voices": voices}
        for name in names.get(path.name, ["a", "b"]):
            recording = write_speech(path / f"{name}.wav", 0.6)
            if path.name in ("noisy", "recordings", "out"):
                add_noise(recording)


def add_noise(path: Path) -> None:
    samples, rate = soundfile.read(path)
    noise = np.random.default_rng(0).normal(0, 0.1, samples.shape)
    soundfile.write(path, samples + noise, rate)


def reports_of_shards(pattern: str) -> list[str]:
    return [word for n in ("0001", "0002") for word in ("--report", pattern.replace("*", n))]


def call(line: str, piped: bytes) -> None:
    """Run one command; what it reads is made before, unless an earlier line of the page made it."""
    words = shlex.split(os.path.expandvars(line), comments=True)[1:]
    for before, word in zip(["", *words], words, strict=False):
        if before not in OUTPUTS and not word.startswith("-"):
            provide(Path(word.split("/*")[0]))
    words = [name for word in words for name in ((glob.glob(word) if "*" in word else []) or [word])]
    result = run_command(*words, input=piped)
    expected = 1 if any(part in line for part in ENDS_WITH_ONE) else 0
    assert result.exit_code == expected, f"{line}\n{result.output}"


def pipe(program: str, folder: Path) -> bytes:
    """Return the output of the program before a pipe."""
    if program == "find":
        provide(Path("recordings"))
        return "\n".join(map(str, Path("recordings").glob("*.wav"))).encode()
    if program in ("ffmpeg", "cat"):
        return bytes(19200)
    return write_speech(folder / "piped.wav", 0.6).read_bytes()


@pytest.mark.parametrize(
    "page",
    [
        pytest.param(page, marks=[] if page == "README.md" else pytest.mark.slow)
        for page in PAGES
        if runnable(page)
    ],
)
def test_shell_blocks(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "3")
    for line in runnable(page):
        before, *rest = line.split(" | ")
        piped = pipe(before.split()[0], tmp_path) if rest and not before.startswith("audiotool") else b""
        for part in (before, *rest):
            if part.startswith("audiotool "):
                call(part, piped)


# Commands of the log have variables of a shell.
@pytest.mark.parametrize(
    "page", [p for p in PAGES if "experiments" not in p and TRAINING in str(commands(p))]
)
def test_trainings(page: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Recipe and keys are valid, the data are the reader's, and each run has a folder of its own."""
    monkeypatch.chdir(ROOT / "checkpoints")
    folders: dict[Path, object] = {}
    for line in commands(page):
        if TRAINING not in line:
            continue
        words = shlex.split(line.partition(TRAINING)[2], comments=True)
        given = get_command(train.app).make_context(line, words).params
        recipe = load(given["recipe"], given["settings"] or [])
        if recipe.data.root is None:
            own = load(given["recipe"]).data
            for key in ("speech", "noise", "rir"):
                kept = set(getattr(recipe.data, key)) & set(getattr(own, key))
                assert not kept, f"{page}: {line}: the recipe's own {key} {kept}"
        # What is typed on several machines is one run.
        run = re.sub(r"--node-rank \d", "", line)
        assert folders.setdefault(given["run"] or Path("runs") / recipe.name, run) == run, f"{page}: {line}"


def test_exceptions_are_on_some_page() -> None:
    lines = [f"{line} " for page in PAGES for line in commands(page)]
    assert sum(len(runnable(page)) for page in PAGES) >= 60
    assert not [part for part in NOT_HERE if not any(part in line for line in lines)]
