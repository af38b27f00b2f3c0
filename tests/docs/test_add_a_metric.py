"""The metrics that the docs add are scored by `evaluate`: one module, and one by an entry point."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import soundfile
from kit.command import run_command
from kit.docs import ROOT
from kit.plugin import install_plugin

import audiotool.metrics

RECOGNISER = '''
def transcribe(waveform):
    """Return a word for each tenth of a second that is not silent: its level to the nearest 6 dB."""
    import numpy as np

    levels = [np.sqrt(np.mean(part**2)) for part in np.split(np.asarray(waveform), len(waveform) // 1600)]
    return [f"w{round(np.log2(level))}" for level in levels if level > 1e-3]
'''
WORDS = (0.5, 0.25, 0.125, 0.5)
"""Amplitude of each tenth of a second of the reference."""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the page's package and a reference of four words."""
    text = (ROOT / "docs" / "extend" / "add.md").read_text(encoding="utf-8")
    text = text.partition("\n## In a package of your own\n")[2]
    code, points = (re.search(rf"```{kind}\n(.*?)```", text, re.DOTALL) for kind in ("python", "toml"))
    assert code is not None
    assert points is not None
    group, name, target = re.fullmatch(
        r'\[project\.entry-points\."([\w.]+)"\]\n(\w+) = "([\w:]+)"\n', points[1]
    ).groups()  # type: ignore[union-attr]
    modules = {target.partition(":")[0]: code[1], "recogniser": RECOGNISER}
    install_plugin(tmp_path, "recogniser-scores", modules, {group: {name: target}})
    monkeypatch.syspath_prepend(str(tmp_path))
    write(tmp_path / "reference" / "a.wav", WORDS)
    return tmp_path


def write(path: Path, amplitudes: tuple[float, ...]) -> None:
    path.parent.mkdir(exist_ok=True)
    tone = np.sqrt(2) * np.sin(2 * np.pi * 440 * np.arange(1600) / 16000)
    soundfile.write(path, np.concatenate([amplitude * tone for amplitude in amplitudes]), 16000, "FLOAT")


@pytest.mark.parametrize(
    ("amplitudes", "errors"),
    [
        (WORDS, 0),
        ((0.5, 0.0, 0.125, 0.5), 1),
        ((0.5, 0.25, 0.25, 0.25), 2),
        ((0.0, 0.0, 0.0, 0.0), 4),
    ],
)
def test_word_error_rate(folder: Path, amplitudes: tuple[float, ...], errors: int) -> None:
    write(folder / "estimate" / "a.wav", amplitudes)
    words = ("--reference", folder / "reference", "--estimate", folder / "estimate", "--metrics", "wer")
    result = run_command("evaluate", *words, "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["files"][0]["wer"] == pytest.approx(100 * errors / len(WORDS))


def test_a_reference_without_words_has_no_rate(folder: Path) -> None:
    for name in ("reference", "estimate"):
        write(folder / name / "a.wav", (0.0, 0.0))
    words = ("--reference", folder / "reference", "--estimate", folder / "estimate", "--metrics", "wer")
    result = run_command("evaluate", *words, "--json")
    row = json.loads(result.stdout)["files"][0]
    assert row["wer"] is None
    assert "no words" in json.dumps(row)


@pytest.fixture
def _modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The page's modules of `audiotool.metrics`."""
    text = (ROOT / "docs" / "extend" / "add.md").read_text(encoding="utf-8").partition("\n## A metric\n")[2]
    text = text.partition("\n## ")[0]
    found = re.findall(r"`audiotool/metrics/(\w+\.py)`:\n\n```python\n(.*?)```", text, re.DOTALL)
    assert [name for name, _ in found] == ["peak_error.py", "full_scale.py"]
    (tmp_path / "modules").mkdir()
    for name, code in found:
        (tmp_path / "modules" / name).write_text(code, encoding="utf-8")
    places = [*audiotool.metrics.__path__, str(tmp_path / "modules")]
    monkeypatch.setattr(audiotool.metrics, "__path__", places)


@pytest.mark.usefixtures("_modules")
def test_samples_at_full_scale_need_no_reference(tmp_path: Path) -> None:
    write(tmp_path / "estimate" / "a.wav", (0.5, 0.75, 0.5))
    samples, _ = soundfile.read(tmp_path / "estimate" / "a.wav")
    words = ("evaluate", "--metrics", "full_scale", "--json", "--estimate", str(tmp_path / "estimate"))
    result = run_command(*words)
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["files"][0]["full_scale"] == np.sum(np.abs(samples) >= 1) > 100


@pytest.mark.usefixtures("_modules")
def test_peak_error(tmp_path: Path) -> None:
    for name, amplitudes in (("reference", (0.5, 0.25)), ("estimate", (0.25, 0.25)), ("silent", (0.0, 0.0))):
        write(tmp_path / name / "a.wav", amplitudes)
    words = ("evaluate", "--metrics", "peak_error", "--json", "--reference", str(tmp_path / "reference"))
    for name, expected in (("estimate", pytest.approx(6.02, abs=0.01)), ("silent", None)):
        result = run_command(*words, "--estimate", tmp_path / name)
        assert result.exit_code == 0, result.output
        assert json.loads(result.stdout)["files"][0]["peak_error"] == expected
