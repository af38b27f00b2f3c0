"""`audiotool train` and `audiotool recipes`, as they are typed."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
import yaml
from kit.audio import write_speech
from kit.command import run_command, run_process
from kit.docs import shell_lines

from audiotool.data.entry import Entry
from audiotool.data.manifest import write_manifest

AUDIO = Path(__file__).parents[1] / "data" / "audio"


@pytest.fixture
def small(tmp_path: Path) -> Path:
    values = {
        "task": "denoise",
        "model": {
            "name": "cleanunet",
            "config": {
                "channels_h": 4,
                "max_channels": 8,
                "n_layers": 3,
                "transformer_layers": 1,
                "transformer_heads": 2,
                "transformer_dim": 16,
                "transformer_inner_dim": 32,
            },
        },
        "audio": {"sample_rate": 16000, "segment_seconds": 0.25},
        "data": {"speech": ["manifest.csv"], "noise": ["manifest.csv"], "cache": str(tmp_path / "cache")},
        "loss": [{"name": "l1-waveform"}],
        "train": {"steps": 4, "batch_size": 2},
        "validation": {"count": 1, "metrics": []},
        "logging": {"every": 2},
    }
    path = tmp_path / "small.yaml"
    path.write_text(yaml.safe_dump(values))
    return path


def test_train_with_a_loader_process_then_denoise(small: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    words = ["train", small, "--run", folder, "--set", f"data.root={AUDIO}"]
    done = run_process(*words, "--device", "cpu", "--threads", "1")
    assert done.returncode == 0, done.stderr
    checkpoint = folder / "small.safetensors"
    assert done.stdout.split() == [str(checkpoint)]
    assert "step 4/4 loss=" in done.stderr
    assert "validation at step 4 loss=" in done.stderr
    assert "4 of 4 steps" in done.stderr
    assert (folder / "recipe.yaml").is_file()
    resumed = run_process(*words)
    assert resumed.returncode == 2
    assert "--resume" in resumed.stderr
    lost = run_process(*words[:3], tmp_path / "tuned", *words[4:], "--init-from", "nothing.safetensors")
    assert lost.returncode == 2
    assert "no checkpoint 'nothing.safetensors'" in lost.stderr
    assert "Traceback" not in lost.stderr
    tuned = run_process(
        *(*words[:3], tmp_path / "tuned", *words[4:], "--init-from", checkpoint),
        *("--set", "train.steps=1", "--set", "freeze=['encoder.*']"),
    )
    assert tuned.returncode == 0, tuned.stderr


def test_pairs_as_the_guide_has_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for n in range(3):
        noise = 0.02 * np.random.default_rng(n).normal(size=8000)
        clean, _ = soundfile.read(write_speech(tmp_path / "clean" / f"{n}.wav", 0.5))
        (tmp_path / "noisy").mkdir(exist_ok=True)
        soundfile.write(tmp_path / "noisy" / f"{n}.flac", clean + noise, 16000)
    shutil.copy("noisy/0.flac", "in.wav")
    lines = [
        line for line in shell_lines("docs/guides/training.md") if re.search("pairs.csv|runs/pairs", line)
    ]
    scan, train, denoise = (shlex.split(line)[1:] for line in lines)
    assert run_command(*scan).exit_code == 0
    small = ("train.steps=1", "train.batch_size=1", "audio.segment_seconds=0.5")
    unscored = ("validation.count=3", "validation.metrics=[]")
    quick = [word for value in (*small, *unscored) for word in ("--set", value)]
    done = run_process(*train, *quick, "--device", "cpu", "--threads", "1")
    assert done.returncode == 0, done.stderr
    said = " ".join(done.stderr.split())
    assert "each pair of 'valid' counts once, because" in said
    assert "the set has 1 in place of 3" in said
    data = [word for key in train if key.startswith("data.") for word in ("--set", key)]
    mixed = run_command("data", "mix", "denoise", "-o", "set", *data, *quick)
    assert mixed.exit_code == 0, mixed.output
    assert [path.name for path in Path("set/noisy").iterdir()] == ["00000.wav"]
    found = run_command(*denoise)
    assert found.exit_code == 0, found.output
    assert soundfile.info("out-pairs.wav").frames == 8000


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--set", "train.bach_size=1"], "train.bach_size: unknown key; did you mean 'batch_size'?"),
        (["--set", "data.root=/nowhere"], "data.speech[0]: no manifest or folder 'manifest.csv'"),
        (["--set", f"data.root={AUDIO}", "--device", "cuda:7"], "there is no device 'cuda:7'"),
    ],
)
def test_mistakes_are_one_line(small: Path, tmp_path: Path, words: list[str], message: str) -> None:
    done = run_command("train", small, "--run", tmp_path / "run", *words)
    assert done.exit_code in (1, 2)
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "run").exists()


def test_progress_bar_counts_from_where_it_resumes() -> None:
    from audiotool.cli.train import BarListener

    with BarListener(10) as listener:
        listener.started(4, 10, {"parameters": 1000, "device": "cpu"})
        listener.stepped(6)
        listener.logged(6, {"loss": 0.5, "audio_seconds_per_second": 20.0})
        listener.validated(6, {"pesq": 2.0})
        task = listener.progress.tasks[0]  # type: ignore[attr-defined]
    assert (task.completed, task.total) == (6, 10)
    assert task.description == "loss 0.5, 20 s audio/s"


def test_recipes_list_show_validate_losses(small: Path) -> None:
    listed = run_command("recipes", "list")
    assert "cleanunet-small" in listed.stdout
    assert run_command("recipes", "show", small).stdout == small.read_text()
    latin = small.with_name("latin.yaml")
    latin.write_bytes(b"name: caf\xe9\n")
    assert "latin.yaml: cannot be read: it is not UTF-8" in run_command("recipes", "show", latin).stderr
    resolved = yaml.safe_load(run_command("recipes", "show", small, "--set", "train.steps=9").stdout)
    assert resolved["train"]["steps"] == 9
    assert resolved["train"]["precision"] == "fp32"
    valid = run_command("recipes", "validate", small, "cleanunet")
    assert "46,071,937 parameters" in valid.stdout
    assert valid.exit_code == 0
    missing = run_command("recipes", "validate", "cleanunet", "--data", "--set", "data.root=/nowhere")
    assert missing.exit_code == 2
    assert "data.speech[0]" in missing.stderr


@pytest.mark.parametrize(
    ("setting", "reason"),
    [
        ("init.checkpoint=nosuch", "no checkpoint 'nosuch'"),
        ("init.checkpoint=denoise-tiny-16k", "holds a band-split-gru, the recipe trains a cleanunet"),
        ("freeze=[nothing.*]", "freeze: no parameter fits 'nothing.*'"),
        ("data.example=nosuch", "data.example: no kind of example is called 'nosuch'"),
    ],
)
def test_validate_refuses_what_training_refuses(small: Path, setting: str, reason: str) -> None:
    refused = run_command("recipes", "validate", small, "--set", setting)
    assert refused.exit_code == 2
    assert refused.stderr.startswith(f"audiotool: error: {small}: ")
    assert reason in refused.stderr


def test_options_of_losses_are_listed_as_a_recipe_has_them() -> None:
    lines = run_command("recipes", "losses").stdout.splitlines()
    head = next(n for n, line in enumerate(lines) if line.startswith("multi-resolution-stft: "))
    options = yaml.safe_load("\n".join(lines[head + 1 : head + 8]))
    assert options["n_fft"] == [512, 1024, 2048]
    assert options["band"] == "full"
    assert "    soft_limit_db: null" in lines
    assert "    mel: required" in lines
    listed = json.loads(run_command("recipes", "losses", "--json").stdout)["losses"]
    options = {loss["name"]: loss["options"] for loss in listed}
    assert options["si-sdr"]["zero_mean"] == {"default": False, "required": False}
    assert options["mel"]["mel"] == {"default": None, "required": True}


@pytest.mark.parametrize("value", ["5", "[1, 2, 3]", "[5, 2]"])
def test_an_invalid_range_is_reported(small: Path, value: str) -> None:
    refused = run_command("recipes", "validate", small, "--set", f"data.mixing.snr_db={value}")
    assert refused.exit_code == 2
    assert f"data.mixing.snr_db: found {value}, a range is [least, most]" in refused.stderr


def test_validate_opens_the_recordings(small: Path) -> None:
    root = ("--set", f"data.root={AUDIO}")
    there = run_command("recipes", "validate", small, "--data", *root)
    assert there.exit_code == 0, there.output
    train, valid = (line.strip() for line in there.stdout.splitlines()[1:3])
    assert train.startswith("train: ")
    assert valid.startswith("valid: ")
    assert train.endswith(", 0 unreadable")
    assert there.stdout.count("\n") == 3
    unused = run_command(
        "recipes", "validate", small, "--data", *root, "--set", "data.splits.test=[elsewhere]"
    )
    assert "rows have the split 'test', which data.splits does not name" in unused.stdout
    no_split = run_command(
        "recipes", "validate", small, "--data", *root, "--set", "data.splits.valid=[elsewhere]"
    )
    assert no_split.exit_code == 2
    assert "the 'valid' split is empty" in no_split.stderr


def test_validate_finds_what_training_leaves_out(small: Path, tmp_path: Path) -> None:
    places = [tmp_path / name for name in ("good.wav", "nan.wav", "cut.flac", "valid.wav")]
    for place in places:
        samples = np.random.default_rng(0).uniform(-0.1, 0.1, 16000)
        samples[100] = np.nan if place.stem == "nan" else 0
        soundfile.write(place, samples, 16000, subtype="PCM_16" if place.suffix == ".flac" else "FLOAT")
    whole = places[2].read_bytes()
    places[2].write_bytes(whole[: len(whole) * 2 // 3])
    rows = [Entry(p, "speech", "x", 16000, 1.0, "valid" if p.stem == "valid" else "train") for p in places]
    write_manifest(tmp_path / "own.csv", rows)
    own = f"data.speech=[{tmp_path / 'own.csv'}]"
    settings = (own, "data.noise=[]", "data.evaluation.synthetic.probability=1")
    words = [word for setting in settings for word in ("--set", setting)]
    lines = run_command("recipes", "validate", small, "--data", *words).stdout.splitlines()
    assert "    train: 3 recordings, 2 unreadable" in lines
    assert any("nan.wav holds nan at sample 100" in line for line in lines)
    assert any("cut.flac is damaged after" in line for line in lines)


def test_resume_needs_the_run_alone(small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here").symlink_to(AUDIO)
    settings = ["--set", "data.root=here", "--set", "train.batch_size=1", "--set", "train.steps=2"]
    first = run_process("train", small, *settings, "--device", "cpu", "--threads", "1")
    assert first.returncode == 0, first.stderr
    assert first.stderr.index("opening the data") < first.stderr.index("step 1/2, ")
    folder = tmp_path / "runs" / "small"
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    more = run_process(
        "train", "--resume", folder, "--set", "train.steps=3", "--device", "cpu", "--threads", "1"
    )
    assert more.returncode == 0, more.stderr
    assert "3 of 3 steps" in more.stderr
    assert not (elsewhere / "runs").exists()


def test_folders_and_states_in_the_place_of_a_recipe(small: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    for words, message in (
        (["--resume", tmp_path], "holds no run"),
        ([folder], f"go on with `audiotool train --resume {folder}`"),
        (["--resume", folder, "--run", tmp_path], "leave --run out"),
        ([folder / "states" / "step-0000000004.pt"], f"`audiotool train --resume {folder}`"),
    ):
        (folder / "states").mkdir(parents=True, exist_ok=True)
        (folder / "states" / "step-0000000004.pt").touch()
        (folder / "recipe.yaml").write_text(small.read_text())
        done = run_command("train", *words)
        assert done.exit_code == 2
        assert message in " ".join(done.stderr.split())


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(5, "5 s"), (185, "3 min 5 s"), (53_820, "14 h 57 min"), (183_700, "2 d 3 h")],
)
def test_time_left_has_units(seconds: int, words: str) -> None:
    from audiotool.cli.train import duration

    assert duration(seconds) == words


def test_without_a_terminal_a_long_silence_is_broken(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from audiotool.cli import train

    clock = [0.0]
    monkeypatch.setattr(train.time, "monotonic", lambda: clock[0])  # type: ignore[attr-defined]
    listener = train.LineListener(100)
    for done in range(1, 4):
        clock[0] += 40
        listener.decoding(done, 9)
    listener.started(0, 100, {"parameters": 1000, "device": "cpu"})
    for step in range(1, 6):
        clock[0] += 25
        listener.stepped(step)
    lines = [line.split(" ", 1)[1] for line in capsys.readouterr().err.splitlines()]
    assert lines == [
        "decoding recordings, once: 2 of 9",
        "1,000 parameters on cpu, step 0 of 100",
        "step 1/100, 41 min 15 s to go",
        "step 4/100, 40 min 0 s to go",
    ]
