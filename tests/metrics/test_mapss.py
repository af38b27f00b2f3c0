"""MAPSS: the protocol and its errors with an interpreter that is none, the numbers with the package's own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from kit.audio import speech_like
from kit.command import run_process
from kit.patience import PATIENCE

from audiotool.errors import DependencyError
from audiotool.metrics import mapss
from audiotool.metrics.base import METRICS, Mixture, Unscorable
from audiotool.metrics.pairing import pair_files
from audiotool.metrics.score_files import score_stems
from audiotool.metrics.score_many import score_many
from audiotool.metrics.values import Curve

NAMES = ("mapss_ps", "mapss_pm")
RATE = 16000

FAKE = f'''#!{sys.executable}
"""Stands for an interpreter that runs the worker of MAPSS: what it is asked lies beside it."""
import json, os, sys
here = os.path.dirname(os.path.abspath(__file__))
import soundfile
for line in sys.stdin:
    request = json.loads(line)
    if not request:
        print(json.dumps({{"version": "0"}}), flush=True)
        continue
    told = dict(
        arguments=sys.argv[1:],
        offline=[os.environ["HF_HUB_OFFLINE"], os.environ["TRANSFORMERS_OFFLINE"]],
        network=sorted(os.listdir("facebook/wav2vec2-large-lv60")),
    )
    levels = {{}}
    for side, paths in request.items():
        read = [soundfile.read(path) for path in paths]
        told[side] = [[rate, len(samples)] for samples, rate in read]
        levels[side] = [float(abs(samples).max()) for samples, _ in read]
    open(os.path.join(here, "asked.json"), "w").write(json.dumps(told))
    stem = lambda level: {{"value": level, "frames": [None, level]}}
    print(json.dumps({{
        "step_s": 0.02,
        "ps": [stem(level) for level in levels["references"]],
        "pm": [stem(level) for level in levels["estimates"]],
    }}), flush=True)
'''

ERRORS = {
    'print(\'{"error": "MAPSS: no frames"}\', flush=True)': "MAPSS: no frames",
    "sys.exit('it is\\nbroken')": r"MAPSS crashed \(exit code 1\): broken",
    "os.abort()": r"MAPSS crashed \(signal 6\)",
    "print('Loading weights', flush=True)": "MAPSS answers what is no answer: Loading weights",
    "print('{}', flush=True)": r"MAPSS gives no scores: \{\}",
}


def interpreter(place: Path, text: str) -> str:
    place.write_text(text)
    place.chmod(0o755)
    return str(place)


def broken(place: Path, statement: str) -> str:
    """An interpreter that greets, and then does something else."""
    greeting = "sys.stdin.readline(); print('{}', flush=True); sys.stdin.readline()"
    return interpreter(place, f"#!{sys.executable}\nimport os, sys\n{greeting}\n{statement}\n")


@pytest.fixture
def backbone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "network"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    monkeypatch.setenv(mapss.BACKBONE, str(folder))
    return folder


@pytest.fixture
def fake(tmp_path: Path, backbone: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the interpreter writes what it was asked."""
    monkeypatch.setenv(mapss.PYTHON, interpreter(tmp_path / "python", FAKE))
    return tmp_path / "asked.json"


@pytest.fixture
def stems(tmp_path: Path) -> Path:
    """clean/ and out/ with two speakers, who have changed places in out/; one is longer."""
    for folder in ("clean", "out"):
        (tmp_path / folder).mkdir()
    for n, peak in enumerate((0.5, 0.25)):
        voice = speech_like(1.0 + 0.1 * n, RATE, 2)[n]
        voice *= peak / np.abs(voice).max()
        soundfile.write(tmp_path / f"clean/mix.speaker{n + 1}.wav", voice, RATE, "FLOAT")
        soundfile.write(tmp_path / f"out/mix.speaker{2 - n}.wav", voice / 2, RATE, "FLOAT")
    return tmp_path


def test_stems_are_rated_together_in_our_order(fake: Path, stems: Path) -> None:
    pairs = pair_files(stems / "clean", stems / "out", of_stems=True)
    rows = score_many(pairs, ["si_sdr", *NAMES])
    request = json.loads(fake.read_text())
    assert request["arguments"][0] == "-I"
    assert Path(request["arguments"][1]).name == "mapss_worker.py"
    assert request["offline"] == ["1", "1"]
    assert request["network"] == ["config.json"]
    # The shortest counts, and the second estimate goes with the first reference.
    assert request["references"] == request["estimates"] == [[RATE, RATE]] * 2
    assert [row.values["mapss_ps"].value for row in rows] == pytest.approx([0.5, 0.25])
    assert [row.values["mapss_pm"].value for row in rows] == pytest.approx([0.25, 0.125])
    assert "stems of 16000 to 17600 samples: the first 16000 count together" in rows[0].notes
    assert list(rows[0].values) == ["si_sdr", *NAMES]
    assert rows[0].curves["mapss_pm"] == Curve(0.02, (None, 0.25))
    assert rows[0].facts["seconds"] == 1.0
    assert rows[1].facts["peak"] == pytest.approx(0.125, abs=1e-4)


@pytest.mark.parametrize(("statement", "reason"), ERRORS.items())
def test_errors_of_the_other_interpreter_are_one_line(
    statement: str, reason: str, tmp_path: Path, backbone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(mapss.PYTHON, broken(tmp_path / "python", statement))
    METRICS.get("mapss_ps").check()
    worker = mapss._worker()
    with pytest.raises(Unscorable, match=f"^{reason}$"):
        worker.rate(Mixture(np.ones((2, 100)), np.ones((2, 100)), RATE))
    worker.close()
    # It is started again for the next.
    worker.ask(b"{}\n")
    worker.close()
    assert worker.folder is not None
    assert not worker.folder.exists()


def test_missing_files_are_reported_before_any_work(
    tmp_path: Path, backbone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    metric = METRICS.get("mapss_pm")
    monkeypatch.delenv(mapss.PYTHON, raising=False)
    with pytest.raises(DependencyError, match="pip install mapss-measures"):
        metric.check()
    monkeypatch.setenv(mapss.PYTHON, str(tmp_path / "nothing"))
    with pytest.raises(DependencyError, match=r"cannot run .*nothing: No such file"):
        metric.check()
    # The package is not installed for this interpreter.
    monkeypatch.setenv(mapss.PYTHON, sys.executable)
    with pytest.raises(DependencyError, match="lacks mapss-measures: pip install mapss-measures there"):
        metric.check()
    (backbone / "config.json").unlink()
    with pytest.raises(DependencyError, match=r"network: .*config\.json"):
        metric.check()
    monkeypatch.delenv(mapss.BACKBONE)
    with pytest.raises(DependencyError, match="--mapss-backbone DIR"):
        metric.check()


def test_one_stem_by_itself_is_not_rated(fake: Path, stems: Path) -> None:
    pair = pair_files(stems / "clean", stems / "out")[0]
    [row] = score_stems([pair], NAMES)
    assert "two at least" in str(row.values["mapss_ps"].reason)
    assert not row.failed
    (stems / "out" / "mix.speaker1.wav").write_bytes(b"no sound")
    pairs = pair_files(stems / "clean", stems / "out", of_stems=True)
    rows = score_many(pairs, NAMES)
    assert [row.failed for row in rows] == [True, True]
    assert all("mix.speaker1.wav" in str(row.values["mapss_pm"].reason) for row in rows)


def evaluate(*words: str | Path) -> subprocess.CompletedProcess[str]:
    return run_process("evaluate", "--task", "separate", "--metrics", "mapss", *words)


def test_the_command_writes_scores_frames_and_a_page(fake: Path, stems: Path, backbone: Path) -> None:
    places = ("--reference", stems / "clean", "--estimate", stems / "out", "--mapss-backbone", backbone)
    reports = [word for name in ("a.json", "a.html") for word in ("--report", stems / name)]
    done = evaluate(*places, *reports, "--frames", stems / "frames.csv", "--jobs", "2")
    assert done.returncode == 0, done.stderr
    found = json.loads((stems / "a.json").read_text())
    assert found["files"][0]["mapss_ps"] == pytest.approx(0.5)
    assert found["files"][0]["curves"]["mapss_ps"] == {"step_s": 0.02, "values": [None, pytest.approx(0.5)]}
    lines = (stems / "frames.csv").read_text().splitlines()
    assert lines[0] == "file,seconds,mapss_pm,mapss_ps"
    assert lines[1] == "mix.speaker1: mix.speaker2.wav,0,,"
    assert lines[2] == "mix.speaker1: mix.speaker2.wav,0.02,0.25,0.5"
    assert len(lines) == 5
    assert '"label":"mapss_pm"' in (stems / "a.html").read_text()
    run_process("report", "show", stems / "a.json", "-o", stems / "b.html", check=True)
    assert '"label":"mapss_pm"' in (stems / "b.html").read_text()
    refused = evaluate(*places, "--frames", stems / "frames.txt")
    assert refused.returncode == 2
    assert "written as .csv" in refused.stderr
    both = ("--frames", stems / "s.csv", "--report", stems / "out" / ".." / "s.csv")
    refused = evaluate(*places, *both)
    assert refused.returncode == 2
    assert "a report and scores over time cannot be one file" in refused.stderr


# --- The package itself ---------------------------------------------------------------------------------

REAL = os.environ.get("AUDIOTOOL_MAPSS_PYTHON")
needs_package = pytest.mark.skipif(REAL is None, reason="AUDIOTOOL_MAPSS_PYTHON names no interpreter")

MAKE = """
import sys
from transformers import Wav2Vec2Config, Wav2Vec2FeatureExtractor, Wav2Vec2Model
import torch
torch.manual_seed(0)
tiny = Wav2Vec2Config(
    hidden_size=16, num_hidden_layers=3, num_attention_heads=2, intermediate_size=32, conv_dim=(16,) * 7,
    num_feat_extract_layers=7, num_conv_pos_embeddings=16, num_conv_pos_embedding_groups=2,
)
Wav2Vec2Model(tiny).save_pretrained(sys.argv[1])
Wav2Vec2FeatureExtractor().save_pretrained(sys.argv[1])
"""

CALL = """
import json, sys
from mapss import mapss
result = mapss(reference=sys.argv[1:3], output=sys.argv[3:5])
tables = {"ps": result.ps, "pm": result.pm}
frames = {name: json.loads(table.to_json(double_precision=15)) for name, table in tables.items()}
print(json.dumps({"summary": result.summary[["ps", "pm"]].to_dict("list"), "frames": frames}))
"""


@needs_package
def test_scores_are_those_of_the_package_called_directly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = tmp_path / mapss.NETWORK
    subprocess.run([str(REAL), "-c", MAKE, network], check=True, timeout=PATIENCE)
    monkeypatch.setenv(mapss.BACKBONE, str(network))
    noise = np.random.default_rng(0).standard_normal((2, RATE))
    references = speech_like(1.0, RATE, 2)
    estimates = [voice + 0.3 * references[1 - n] + 0.01 * noise[n] for n, voice in enumerate(references)]
    paths = [tmp_path / f"{n}.wav" for n in range(4)]
    for path, samples in zip(paths, (*references, *estimates), strict=True):
        soundfile.write(path, samples.astype(np.float32), RATE, "FLOAT")
    called = subprocess.run(
        [str(REAL), "-c", CALL, *map(str, paths)],
        cwd=tmp_path,
        env={**os.environ, **mapss.OFFLINE},
        capture_output=True,
        timeout=PATIENCE,
        check=True,
    )
    direct = json.loads(called.stdout.splitlines()[-1])
    read = [soundfile.read(path, dtype="float32")[0] for path in paths]
    mixture = Mixture(np.array(read[:2], float), np.array(read[2:], float), RATE)
    for name, metric in (("ps", mapss.PerceptualSeparation), ("pm", mapss.PerceptualMatch)):
        stems = metric().rate(mixture)
        assert [stem.value for stem in stems] == pytest.approx(direct["summary"][name], abs=1e-9)
        for n, stem in enumerate(stems):
            known = direct["frames"][name][f"source_{n}"]
            expected = [known[str(k)] for k in range(len(known))]
            assert [v is None for v in stem.curve.values] == [v is None for v in expected]
            assert [v or 0 for v in stem.curve.values] == pytest.approx([v or 0 for v in expected], abs=1e-9)
            assert stem.curve.step_s == pytest.approx(0.02)
    mapss._worker().close()
