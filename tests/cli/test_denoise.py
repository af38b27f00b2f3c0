"""`audiotool denoise` on real files and on everything that can be wrong with them."""

from __future__ import annotations

import csv
import json
import os
import sys
import time
import uuid
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from kit.audio import speech_like, write_speech
from kit.command import run_command
from typer.testing import Result

import audiotool
from audiotool import extras
from audiotool.checkpoint import sha256
from audiotool.cli.tasks import requested_checkpoint
from audiotool.errors import CheckpointError
from audiotool.metrics.rows import NOT_FETCHED, Row
from audiotool.report.report import Report
from audiotool.report.write import write_reports
from audiotool.tasks.options import TaskOptions

DEMO = Path(__file__).parents[1] / "data" / "audio" / "demo"


@pytest.fixture
def denoise(tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Run the command in this process, in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str | Path, stdin: bytes | None = None) -> Result:
        words = ["denoise", "--checkpoint", str(tiny_checkpoint), "--device", "cpu", *map(str, arguments)]
        return run_command(*words, input=stdin)

    return call


def one_line(result: Result) -> str:
    """The message of a failed run, which must be one line on stderr and nothing on stdout."""
    assert result.stdout == ""
    assert result.stderr.count("\n") == 1, result.stderr
    assert result.stderr.startswith("audiotool: ")
    return result.stderr


def test_a_real_recording_with_its_report(denoise: Callable[..., Result]) -> None:
    result = denoise(
        *(DEMO / "noisy.flac", "-o", "out.flac", "--reference", DEMO / "clean.flac", "--report", "r.json")
    )
    assert result.exit_code == 0, result.output
    assert soundfile.info("out.flac").frames == soundfile.info(str(DEMO / "noisy.flac")).frames
    [row] = json.loads(Path("r.json").read_text())["files"]
    assert row["status"] == "done"
    assert row["reference_sample_rate"] == soundfile.info(str(DEMO / "clean.flac")).samplerate
    for metric in ("pesq", "stoi", "estoi", "si_sdr"):
        assert row[f"{metric}_improvement"] == pytest.approx(row[metric] - row[f"{metric}_noisy"])
    assert "pesq" in result.stdout
    assert "→" in result.stdout


def test_an_input_without_a_reference_is_denoised_and_not_scored(denoise: Callable[..., Result]) -> None:
    for name in ("in/a.wav", "in/b.wav", "clean/a.wav"):
        write_speech(Path(name), 0.5)
    result = denoise("in", "-o", "out", "--reference", "clean", "--report", "r.json")
    assert result.exit_code == 0, result.output
    assert Path("out/b.wav").exists()
    a, b = json.loads(Path("r.json").read_text())["files"]
    assert (a["status"], b["status"]) == ("done", "done")
    assert a["si_sdr"] is not None
    assert b["si_sdr"] is None
    assert "b.wav has no reference: clean/b.wav does not exist" in b["reasons"]["si_sdr"]


def test_a_dry_run_says_what_is_read_skipped_and_written_and_does_nothing(
    denoise: Callable[..., Result],
) -> None:
    for name in ("in/a.wav", "in/b/c.flac"):
        write_speech(Path(name), 0.2)
    Path("in/notes.txt").write_text("not audio")
    before = sorted(Path().rglob("*"))
    words = ("in", "-o", "out", "--residual", "rest", "--report", "r.json", "--dry-run")
    result = denoise(*words)
    assert result.exit_code == 0
    assert result.stdout.splitlines() == [
        "in/a.wav -> out/a.wav and rest/a.wav",
        "in/b/c.flac -> out/b/c.flac and rest/b/c.flac",
    ]
    assert "a dry run: 2 of 2 files would be processed" in result.stderr
    assert sorted(Path().rglob("*")) == before
    for folder in ("out", "rest"):
        write_speech(Path(folder) / "a.wav", 0.2)
    refused = denoise(*words)
    assert refused.exit_code == 2
    assert "--skip-existing" in one_line(refused)
    resumed = denoise(*words, "--skip-existing")
    assert resumed.stdout.splitlines() == [
        "in/a.wav is skipped: out/a.wav and rest/a.wav there already",
        "in/b/c.flac -> out/b/c.flac and rest/b/c.flac",
    ]
    assert "1 of 2 files would be processed, 1 skipped" in resumed.stderr
    piped = denoise("-", "-o", "-", "--dry-run", "--quiet", stdin=b"")
    assert (piped.exit_code, piped.output) == (0, "standard input -> standard output\n")


def test_a_dry_run_for_programs_has_the_jobs_that_fail(denoise: Callable[..., Result]) -> None:
    write_speech(Path("a.wav"), 0.2)
    Path("list.csv").write_text("input,output\na.wav,a.txt\na.wav,out.wav\n")
    words = ("--list", "list.csv", "--dry-run")
    plan = [
        {"file": "a.wav", "status": "planned", "input": "a.wav", "output": ["out.wav"]},
        {"file": "a.wav", "status": "failed", "input": "a.wav", "output": []},
    ]
    for form in (("--json",), ("--progress", "json")):
        result = denoise(*words, *form)
        assert result.exit_code == 1
        if form == ("--json",):
            found = json.loads(result.stdout)["plan"]
        else:
            assert result.stdout == ""
            found = [json.loads(line) for line in result.stderr.splitlines()]
            assert {(event.pop("schema"), event.pop("event")) for event in found} == {(1, "planned")}
        assert "list.csv: line 2" in found[1].pop("error")
        assert found == plan
    assert not Path("out.wav").exists()


def test_the_output_is_the_pipelines(denoise: Callable[..., Result], tiny_checkpoint: Path) -> None:
    write_speech(Path("in.wav"), 1.5, 44100, 2, subtype="FLOAT")
    assert (
        denoise("in.wav", "-o", "out.wav", "--max-attenuation", 12, "--residual", "rest.wav").exit_code == 0
    )
    x, rate = audiotool.read("in.wav")
    expected = audiotool.load(tiny_checkpoint, "cpu", max_attenuation_db=12.0)(x, rate)
    np.testing.assert_allclose(audiotool.read("out.wav")[0], expected, atol=1e-5)
    np.testing.assert_allclose(audiotool.read("rest.wav")[0], x - expected, atol=1e-5)


def test_mixed_folder_with_failures(denoise: Callable[..., Result]) -> None:
    for name, rate, channels in (("a.wav", 8000, 1), ("b/c.flac", 96000, 2), ("b/d.ogg", 48000, 1)):
        write_speech(Path("in") / name, 0.3, rate, channels)
    write_speech(Path("in/surround.wav"), 0.3, 48000, 6)
    Path("in/letter.mp3").write_bytes(b"Dear friend, ...")
    result = denoise("in", "-o", "out", "--report", "r.csv")
    assert result.exit_code == 1
    assert "1 of 5 files failed" in result.stderr
    assert "in/letter.mp3 cannot be read as audio" in result.stderr
    found = sorted(p.relative_to("out").as_posix() for p in Path("out").rglob("*") if p.is_file())
    assert found == ["a.wav", "b/c.flac", "b/d.ogg", "surround.wav"]
    assert Path("r.csv").read_text().count("\n") == 1 + 5
    repeated = denoise("in", "-o", "out")
    assert repeated.exit_code == 2
    assert "--skip-existing" in one_line(repeated)
    assert denoise("in", "-o", "out", "--skip-existing").exit_code == 1
    Path("in/letter.mp3").unlink()
    quiet = denoise("in", "-o", "out", "--overwrite", "--quiet")
    assert (quiet.exit_code, quiet.output) == (0, "")


def test_pipes(denoise: Callable[..., Result]) -> None:
    write_speech(Path("in.wav"), 1.0, 22050, 2)
    assert denoise("in.wav", "-o", "out.wav").exit_code == 0
    expected = Path("out.wav").read_bytes()
    result = denoise("in.wav", "-o", "-")
    assert result.stdout_bytes == expected
    data = Path("in.wav").read_bytes()
    endless = data[:40] + b"\xff\xff\xff\xff" + data[44:]
    for stdin in (data, endless):
        result = denoise("-", stdin=stdin)
        assert result.exit_code == 0
        samples = np.frombuffer(result.stdout_bytes[44:], "<i2")
        assert np.abs(samples.astype(int) - np.frombuffer(expected[44:], "<i2")).max() <= 1
        assert len(samples) == 2 * 22050
    # The header of a pipe is written before anybody knows that the second recording is left out.
    Path("both.wav").write_bytes(endless + endless)
    result = denoise("both.wav", "-o", "-")
    assert result.stdout_bytes[40:44] == b"\xff\xff\xff\xff"
    assert result.stdout_bytes[44:] == expected[44:]
    assert denoise("-", "-o", "piped.flac", stdin=data).exit_code == 0
    assert soundfile.info("piped.flac").frames == 22050


BAD_INPUTS = {
    "empty": "is empty",
    "header only": "holds no audio",
    "not audio": "cannot be read as audio",
    "no channels": "cannot be read as audio",
    "NaN": "nan at sample 77",
    "infinity": "inf at sample 77",
    "half a flac": "is damaged after",
}


@pytest.mark.parametrize("kind", BAD_INPUTS)
def test_bad_inputs_fail_in_one_line_and_lose_nothing(denoise: Callable[..., Result], kind: str) -> None:
    whole = write_speech(Path("whole.wav")).read_bytes()
    x = speech_like(0.5, 16000).T.copy()
    x[77] = np.inf if kind == "infinity" else np.nan
    if kind in ("NaN", "infinity"):
        soundfile.write("bad.wav", x, 16000, subtype="FLOAT")
    flac = write_speech(Path("whole.flac"), 2.0).read_bytes()
    contents = {
        "empty": b"",
        "header only": whole[:44],
        "not audio": b"just some text " * 100,
        "no channels": whole[:22] + b"\0\0" + whole[24:],
        "half a flac": flac[: len(flac) // 2],
    }
    if kind in contents:
        Path("bad.wav").write_bytes(contents[kind])
    before = write_speech(Path("out/out.wav")).read_bytes()
    result = denoise("bad.wav", "-o", "out/out.wav", "--overwrite")
    assert result.exit_code == 1
    assert BAD_INPUTS[kind] in one_line(result)
    assert Path("out/out.wav").read_bytes() == before
    assert os.listdir("out") == ["out.wav"]


@pytest.mark.parametrize(
    ("name", "seconds", "rate", "channels"),
    [
        ("one-sample.wav", 1 / 16000, 16000, 1),
        ("32-channels.wav", 0.1, 16000, 32),
        ("telephone.wav", 0.2, 8000, 1),
        ("studio.wav", 0.2, 192000, 1),
    ],
)
def test_unusual_inputs_come_out_whole(
    denoise: Callable[..., Result], name: str, seconds: float, rate: int, channels: int
) -> None:
    write_speech(Path(name), seconds, rate, channels)
    assert denoise(name, "-o", "out.wav").exit_code == 0
    before, after = soundfile.info(name), soundfile.info("out.wav")
    assert (before.frames, before.channels, before.samplerate) == (
        after.frames,
        after.channels,
        after.samplerate,
    )


def test_silence_stays_silent(denoise: Callable[..., Result]) -> None:
    audiotool.write("in.wav", np.zeros(8000), 16000)
    assert denoise("in.wav", "-o", "out.wav").exit_code == 0
    assert np.abs(audiotool.read("out.wav")[0]).max() < 0.01


def test_truncated_input_is_processed_with_a_warning(denoise: Callable[..., Result]) -> None:
    data = write_speech(Path("whole.wav"), 1.0).read_bytes()
    Path("half.wav").write_bytes(data[: len(data) // 2])
    result = denoise("half.wav", "-o", "out.wav")
    assert result.exit_code == 0
    assert "half.wav is truncated: 0.50 s of 1.00 s" in result.stderr
    assert soundfile.info("out.wav").frames == (len(data) // 2 - 44) // 2


def test_chunks_of_a_recorder_are_kept_or_named(denoise: Callable[..., Result]) -> None:
    write_speech(Path("in.wav"))
    data = Path("in.wav").read_bytes()
    bext = b"bext" + (602).to_bytes(4, "little") + b"a field recorder".ljust(602, b"\0")
    Path("in.wav").write_bytes(data + bext)
    result = denoise("in.wav", "-o", "out.wav")
    assert result.exit_code == 0, result.output
    assert bext in Path("out.wav").read_bytes()
    assert "bext" not in result.stderr
    result = denoise("in.wav", "-o", "out.flac")
    assert result.exit_code == 0, result.output
    assert "tags and chunks that the output does not keep: bext" in " ".join(result.stderr.split())


def test_wrong_ending_is_read_by_its_content(denoise: Callable[..., Result]) -> None:
    write_speech(Path("in.flac")).rename("in.wav")
    assert denoise("in.wav", "-o", "out.wav").exit_code == 0
    assert soundfile.info("out.wav").format == "WAV"


def test_without_an_output_it_goes_beside_the_input(denoise: Callable[..., Result]) -> None:
    for name in ("in.wav", "more/a.flac", "more/b/c.wav"):
        write_speech(Path(name), 0.2)
    assert denoise("in.wav").exit_code == 0
    assert denoise("more").exit_code == 0
    assert sorted(os.listdir()) == ["in.wav", "in_denoised.wav", "more"]
    assert sorted(p.name for p in Path("more").rglob("*.*")) == [
        *("a.flac", "a_denoised.flac", "c.wav", "c_denoised.wav")
    ]
    before = Path("in_denoised.wav").read_bytes()
    repeated = denoise("in.wav", "--mix", 0.5)
    assert (repeated.exit_code, "in_denoised.wav exists already" in one_line(repeated)) == (2, True)
    assert Path("in_denoised.wav").read_bytes() == before
    assert denoise("more", "--skip-existing").exit_code == 0
    assert len(list(Path("more").rglob("*.*"))) == 4, "outputs are not taken for inputs"


def test_a_report_says_how_an_output_came_to_be(
    denoise: Callable[..., Result], tiny_checkpoint: Path
) -> None:
    write_speech(Path("in.wav"), 0.2)
    Path("bad.wav").write_bytes(b"Dear friend, ...")
    result = denoise("in.wav", "bad.wav", "-o", "out", "--mix", 0.5, "--report", "r.json")
    assert result.exit_code == 1
    bad, good = json.loads(Path("r.json").read_text())["files"]
    assert (good["input"], good["output"]) == ("in.wav", "out/in.wav")
    assert good["model"] == str(tiny_checkpoint)
    assert good["checkpoint_sha256"] == sha256(tiny_checkpoint)
    assert good["version"] == audiotool.__version__
    assert good["settings"]["mix"] == 0.5
    assert bad["input"] == "bad.wav"
    assert "output" not in bad
    Path("bad.wav").unlink()
    assert denoise("in.wav", "-o", "out/", "--skip-existing", "--report", "r.csv").exit_code == 0
    [row, *_] = csv.DictReader(Path("r.csv").read_text().splitlines())
    assert (row["status"], row["output"]) == ("skipped", "out/in.wav")
    assert "model" not in row, "what made it is not known"


def test_a_report_that_cannot_be_read_is_not_replaced_by_a_resumed_run(
    denoise: Callable[..., Result],
) -> None:
    write_speech(Path("in/a.wav"), 0.2)
    path = Path("r.json")
    path.write_text("")
    command = ("in", "-o", "out", "--skip-existing", "--report", path)
    assert denoise(*command).exit_code == 0
    path.write_bytes(path.read_bytes()[:-50])
    before = path.read_bytes()
    write_speech(Path("in/b.wav"), 0.2)
    result = denoise(*command)
    assert result.exit_code == 2
    assert "r.json is no report" in one_line(result)
    assert "move it, or give another --report" in one_line(result)
    assert path.read_bytes() == before
    assert not Path("out/b.wav").exists()
    path.unlink()
    assert denoise(*command).exit_code == 0


def test_a_resumed_report_keeps_the_facts_of_inputs_of_the_future(denoise: Callable[..., Result]) -> None:
    source = write_speech(Path("in/a.wav"), 0.2)
    ahead = time.time() + 3600
    os.utime(source, (ahead, ahead))
    command = ("in", "-o", "out", "--report", "r.json")
    assert denoise(*command, "--max-attenuation", 12).exit_code == 0
    [before] = json.loads(Path("r.json").read_text())["files"]
    assert denoise(*command, "--skip-existing").exit_code == 0
    write_speech(Path("in/b.wav"), 0.2)
    assert denoise(*command, "--skip-existing").exit_code == 0
    after, _ = json.loads(Path("r.json").read_text())["files"]
    assert after == {**before, "status": "skipped"}
    assert after["settings"]["max_attenuation_db"] == 12
    os.utime("out/a.wav", (ahead + 5, ahead + 5))
    write_speech(Path("in/c.wav"), 0.2)
    assert denoise(*command, "--skip-existing").exit_code == 0
    after, *_ = json.loads(Path("r.json").read_text())["files"]
    assert "settings" not in after, "another program wrote this output"


def test_a_resumed_report_keeps_what_is_known_of_outputs_in_a_store(denoise: Callable[..., Result]) -> None:
    pytest.importorskip("fsspec", reason=extras.install("remote"))
    write_speech(Path("in/a.wav"), 0.2)
    place = f"memory://{uuid.uuid4().hex}"
    command = ("in", "-o", place, "--reference", "in", "--metrics", "si_sdr", "--report", "r.json")
    assert denoise(*command, "--max-attenuation", 12).exit_code == 0
    [before] = json.loads(Path("r.json").read_text())["files"]
    assert isinstance(before["si_sdr"], float)
    write_speech(Path("in/b.wav"), 0.2)
    assert denoise(*command, "--skip-existing").exit_code == 0
    after, _ = json.loads(Path("r.json").read_text())["files"]
    assert after == {**before, "status": "skipped"}
    # Scores against another reference are not taken over.
    write_speech(Path("other/a.wav"), 0.2)
    write_speech(Path("other/b.wav"), 0.2)
    for reference in ("other", "in"):
        anew = ("in", "-o", place, "--reference", reference, "--metrics", "si_sdr", "--report", "r.json")
        assert denoise(*anew, "--skip-existing").exit_code == 0
        after, _ = json.loads(Path("r.json").read_text())["files"]
        assert after["reference"] == str(Path(reference, "a.wav"))
        assert (after["si_sdr"], after["reasons"]["si_sdr"]) == (None, NOT_FETCHED)
        assert after["settings"] == before["settings"]


def test_credentials_of_urls_are_neither_shown_nor_written(
    denoise: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    fsspec = pytest.importorskip("fsspec", reason=extras.install("remote"))
    place = f"memory://jane:hunter2@{uuid.uuid4().hex}"
    write_speech(Path("in.wav"), 0.2)
    fsspec.filesystem("memory").put("in.wav", f"{place}/in.wav")
    Path("list.txt").write_text(f"{place}/in.wav\n{place}/gone.wav\n")
    reports = ("r.json", "r.csv", "r.html", "r.md")
    words = ("--list", "list.txt", "-o", "out", *(word for name in reports for word in ("--report", name)))
    monkeypatch.setattr("sys.argv", ["audiotool", "denoise", f"--reference={place}/clean", *words])
    for more in ((), ("--skip-existing",), ("--overwrite", "--progress", "json")):
        result = denoise(*words, *more)
        assert result.exit_code == 1
        assert "/gone.wav: there is no such object" in result.stderr
        assert "hunter2" not in result.output
        assert not [name for name in reports if "hunter2" in Path(name).read_text(encoding="utf-8")]
        assert not [path for path in Path("out").rglob("*") if "hunter2" in str(path)]
        report = json.loads(Path("r.json").read_text())
        [good] = (row for row in report["files"] if row["status"] != "failed")
        assert good["input"] == f"{place}/in.wav".replace("jane:hunter2@", "")
        assert good["sample_rate"] == 16000, "a resumed report has the facts of the earlier one"
    with_query = denoise("http://jane:hunter2@127.0.0.1:1/in.wav?token=1", "-o", "out")
    assert with_query.exit_code == 2
    assert "http://127.0.0.1:1/in.wav" in one_line(with_query)
    assert "hunter2" not in with_query.output
    assert "token" not in with_query.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "say what to process"),
        (["missing.wav", "-o", "out.wav"], "no such input: missing.wav"),
        (["in.wav", "-o", "in.wav", "--overwrite"], "replace its own input"),
        (["in.wav", "-o", "out.wav", "--overwrite", "--skip-existing"], "exclude each other"),
        (["in.wav", "-o", "out.wav", "--model", "x"], "exclude each other"),
        (["in.wav", "-o", "out.wav", "--report", "r.txt"], "a report ends in"),
        (["in.wav", "-o", "in.wav/out.wav"], "is not a folder"),
        (["in.wav", "-o", "o/", "--suffix", "/x"], "--suffix goes into a file's name"),
        (["in.wav", "-o", "o/", "--format", "raw"], "RAW has no header"),
    ],
)
def test_mistakes_on_the_command_line(
    denoise: Callable[..., Result], arguments: list[str], message: str
) -> None:
    write_speech(Path("in.wav"))
    result = denoise(*arguments)
    assert message in one_line(result)
    assert result.exit_code == 2
    assert os.listdir() == ["in.wav"]


@pytest.mark.parametrize("seconds", ["inf", "nan", "1e300", "-1"])
def test_chunks_have_a_length(denoise: Callable[..., Result], seconds: str) -> None:
    write_speech(Path("in.wav"))
    result = denoise("in.wav", "-o", "out.wav", "--chunk", seconds)
    assert result.exit_code == 2
    assert "--chunk" in result.stderr
    assert os.listdir() == ["in.wav"]


def test_checkpoints_by_name_path_and_recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_speech(Path("in.wav"))

    def run(*arguments: str) -> Result:
        return run_command("denoise", "in.wav", "-o", "out.wav", "--device", "cpu", *arguments)

    missing = run("--checkpoint", "no.safetensors")
    assert (missing.exit_code, "no such checkpoint" in one_line(missing)) == (2, True)
    assert "--model denoise-16k is the one of that name" in one_line(run("--checkpoint", "denoise-16k"))
    assert "no checkpoint 'no-such-name'" in one_line(run("--model", "no-such-name"))
    Path("bad.safetensors").write_bytes(b"nothing")
    bad = run("--checkpoint", "bad.safetensors")
    assert (bad.exit_code, "not a safetensors file" in one_line(bad)) == (2, True)
    other = run("--model", "two-speakers-16k")
    message = "two-speakers-16k was made to separate, not to denoise: use `audiotool separate`"
    assert (other.exit_code, one_line(other)) == (2, f"audiotool: error: {message}\n")
    assert "no recipe 'no-such-recipe'" in one_line(run("--recipe", "no-such-recipe"))
    assert not Path("out.wav").exists()


def test_a_recipe_means_its_run_here_or_a_bundled_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    # The first is a recipe for the same network, the second the one that made the weights.
    for name, made in (
        ("denoise", "denoise-16k"),
        ("denoise-broad", "denoise-16k"),
        ("denoise-48k", "denoise-48k"),
    ):
        assert requested_checkpoint(TaskOptions(recipe=name)) == made
    with pytest.raises(CheckpointError, match="train it with `audiotool train gtcrn`"):
        requested_checkpoint(TaskOptions(recipe="gtcrn"))
    Path("runs/denoise/states").mkdir(parents=True)
    with pytest.raises(CheckpointError, match="has a run in runs/denoise, which has no best checkpoint yet"):
        requested_checkpoint(TaskOptions(recipe="denoise"))
    trained = Path("runs/denoise/denoise-best.safetensors")
    trained.touch()
    assert requested_checkpoint(TaskOptions(recipe="denoise")) == str(trained)


@pytest.mark.skipif(sys.platform != "linux", reason="/proc takes no files")
def test_output_folder_that_takes_no_files(denoise: Callable[..., Result]) -> None:
    write_speech(Path("in.wav"))
    result = denoise("in.wav", "-o", "/proc/audiotool/out.wav")
    assert result.exit_code in (1, 2)
    assert "cannot write /proc/audiotool/out.wav" in one_line(result)


def test_interrupted_before_anything_was_done(
    denoise: Callable[..., Result], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A report says so, but takes no earlier one's place."""

    def interrupted(*arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("audiotool.batch.run._run_here", interrupted)
    write_speech(tmp_path / "a.wav")
    write_reports([tmp_path / "earlier.json"], Report([Row("a.wav")]))
    before = (tmp_path / "earlier.json").read_text()
    for name in ("new.json", "earlier.json"):
        assert denoise("a.wav", "-o", "b.wav", "--report", name).exit_code == 130
    assert json.loads((tmp_path / "new.json").read_text())["files"] == []
    assert (tmp_path / "earlier.json").read_text() == before
