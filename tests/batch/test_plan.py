"""Plans of batches: which inputs, which outputs, and what is refused before work begins."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kit.audio import write_speech

from audiotool.batch.job import Existing
from audiotool.batch.listing import Entry
from audiotool.batch.plan import Layout, Plan, make_plan
from audiotool.errors import PlanError
from audiotool.files.kinds import MelOutputs, Outputs


def outputs(plan: Plan, below: Path) -> list[str]:
    return [p.relative_to(below).as_posix() for job in plan.jobs for p in job.target.paths]


def test_a_folder_is_mirrored(folder: Path, tmp_path: Path) -> None:
    plan = make_plan([str(folder)], Layout(output=str(tmp_path / "out")))
    assert outputs(plan, tmp_path / "out") == ["a.wav", "sub/b.flac", "sub/deep/c.wav"]
    assert [job.name for job in plan.jobs] == ["a.wav", "sub/b.flac", "sub/deep/c.wav"]


def test_suffix_format_stems_and_residual(folder: Path, tmp_path: Path) -> None:
    layout = Layout(
        output=str(tmp_path / "out"),
        suffix="_x",
        format="flac",
        outputs=Outputs(stems=("s1", "s2")),
        residual=str(tmp_path / "rest"),
    )
    plan = make_plan([str(folder / "sub")], layout)
    assert outputs(plan, tmp_path)[:3] == ["out/b_x.s1.flac", "out/b_x.s2.flac", "rest/b_x.flac"]


def test_patterns_and_files(folder: Path, tmp_path: Path) -> None:
    out = str(tmp_path / "out")
    assert outputs(make_plan([f"{folder}/**/*.wav"], Layout(output=out)), tmp_path / "out") == [
        "a.wav",
        "sub/deep/c.wav",
    ]
    assert outputs(make_plan([f"{folder}/s*"], Layout(output=out)), tmp_path / "out") == [
        "sub/b.flac",
        "sub/deep/c.wav",
    ]
    single = make_plan([str(folder / "a.wav")], Layout(output=str(tmp_path / "x.flac")))
    assert outputs(single, tmp_path) == ["x.flac"]
    (tmp_path / "out").mkdir()
    assert outputs(make_plan([str(folder / "a.wav")], Layout(output=out)), tmp_path) == ["out/a.wav"]
    beside = make_plan([str(folder)], Layout(suffix="_clean"))
    assert outputs(beside, folder) == ["a_clean.wav", "sub/b_clean.flac", "sub/deep/c_clean.wav"]
    twice = make_plan([str(folder / "a.wav"), str(folder / "a.wav")], Layout(output=out))
    assert len(twice.jobs) == 1


def test_inputs_are_several_whatever_their_folders_hold(
    folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "bare").mkdir()
    (tmp_path / "one").mkdir()
    (folder / "a.wav").rename(tmp_path / "one" / "a.wav")
    bare, file, one = (str(tmp_path / name) for name in ("bare", "one/a.wav", "one"))
    for inputs in ([bare, file], [file, one], [one], [f"{one}/*.wav"], [file, f"{one}/*.wav"]):
        assert outputs(make_plan(inputs, Layout(output=str(tmp_path / "out"))), tmp_path) == ["out/a.wav"]
        for place, message in (("x.wav", "need a folder"), ("-", "takes one recording")):
            with pytest.raises(PlanError, match=message):
                make_plan(inputs, Layout(output=place))
    assert {record.getMessage() for record in caplog.records} == {f"no audio files in {bare}"}


@pytest.mark.parametrize(
    ("asked", "ending"), [("opus", ".opus"), ("OGG", ".ogg"), ("aiff", ".aiff"), ("nist", ".nist")]
)
def test_outputs_are_named_as_the_asked_format(folder: Path, tmp_path: Path, asked: str, ending: str) -> None:
    plan = make_plan([str(folder / "a.wav")], Layout(output=f"{tmp_path}/out/", format=asked))
    assert outputs(plan, tmp_path) == [f"out/a{ending}"]


@pytest.mark.parametrize(
    ("name", "asked", "fits"),
    [
        ("a.mp3", "flac", False),
        ("a.m4a", "mp3", False),
        ("a.WAV", "ogg", False),
        ("a.wav", "rf64", True),
        ("a.opus", "ogg", True),
        ("a.aif", "aiff", True),
        ("a.part", "wav", True),
        ("a", "mp3", True),
    ],
)
def test_a_name_that_contradicts_its_format_is_refused(
    folder: Path, tmp_path: Path, name: str, asked: str, fits: bool
) -> None:
    layout = Layout(output=str(tmp_path / name), format=asked)
    if fits:
        assert outputs(make_plan([str(folder / "a.wav")], layout), tmp_path) == [name]
    else:
        with pytest.raises(PlanError, match=f"{name} is named as another format than --format {asked}"):
            make_plan([str(folder / "a.wav")], layout)


@pytest.mark.parametrize("name", ["a.sph", "b.nist", "c.voc"])
def test_telephone_and_corpus_formats_are_taken_from_folders_and_kept(tmp_path: Path, name: str) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / name).touch()
    assert outputs(make_plan([f"{tmp_path}/in"], Layout(output=f"{tmp_path}/out")), tmp_path) == [
        f"out/{name}"
    ]


@pytest.mark.parametrize(
    ("output", "asked", "has_one"),
    [
        ("a.mp3", None, True),
        ("a.opus", None, True),
        ("out/", "mp3", True),
        ("a.wav", None, False),
        ("a.ogg", None, False),
        ("out/", "flac", False),
        ("-", None, False),
    ],
)
def test_a_bit_rate_is_for_codings_that_have_one(
    folder: Path, tmp_path: Path, output: str, asked: str | None, has_one: bool
) -> None:
    place = output if output == "-" else f"{tmp_path}/{output}"
    # What is removed may be of a coding without one.
    residual = None if asked else str(tmp_path / "removed.wav")
    layout = Layout(output=place, format=asked, bitrate=192, residual=residual)
    if has_one:
        assert make_plan([str(folder / "a.wav")], layout).jobs[0].target.bitrate == 192
    else:
        with pytest.raises(PlanError, match="--bitrate is for MP3, Opus and AAC, and"):
            make_plan([str(folder / "a.wav")], layout)


@pytest.mark.parametrize(
    ("output", "subtype"), [("a.wma", None), ("a.xyz", None), ("-", "OPUS"), ("a.mp3", "X")]
)
def test_a_bit_rate_of_an_output_that_is_not_written(
    folder: Path, tmp_path: Path, output: str, subtype: str | None
) -> None:
    place = output if output == "-" else f"{tmp_path}/{output}"
    with pytest.raises(PlanError):
        make_plan([str(folder / "a.wav")], Layout(output=place, subtype=subtype, bitrate=64))


@pytest.mark.parametrize(
    ("output", "bitrate", "message"),
    [
        ("a.mp3", 1000, "MP3 takes 8 to 320 kbit/s, not 1000"),
        ("a.mp3", 7.5, "MP3 takes 8 to 320 kbit/s, not 7.5"),
        ("a.opus", 5, "OPUS takes 6 kbit/s or more, not 5"),
        ("a.m4a", 5, "AAC takes 8 kbit/s or more, not 5"),
    ],
)
def test_a_bit_rate_that_no_recording_has(
    folder: Path, tmp_path: Path, output: str, bitrate: float, message: str
) -> None:
    with pytest.raises(PlanError, match=message):
        make_plan([str(folder / "a.wav")], Layout(output=f"{tmp_path}/{output}", bitrate=bitrate))


def test_films_become_wav_where_they_can_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "talk.M4A").touch()
    out = str(tmp_path / "out")
    for typed in (str(tmp_path / "in"), f"{tmp_path}/in/*.M4A"):
        assert outputs(make_plan([typed], Layout(output=out)), tmp_path / "out") == ["talk.wav"]
        with monkeypatch.context() as without:
            without.setattr("audiotool.extras.is_there", lambda module: False)
            with pytest.raises(PlanError, match=r'read after `pip install "audiotool-speech\[media\]"`'):
                make_plan([typed], Layout(output=out))


@pytest.mark.parametrize("links", [("0.wav", "b.wav"), ("b.wav", "sub/d.wav")])
def test_of_a_file_and_links_to_it_the_file_is_the_input(
    folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, links: tuple[str, str]
) -> None:
    for name in links:
        (folder / name).symlink_to(folder / "a.wav")
    plan = make_plan([str(folder)], Layout(output=str(tmp_path / "out")))
    assert outputs(plan, tmp_path / "out") == ["a.wav", "sub/b.flac", "sub/deep/c.wav"]
    named = ", ".join(f"{folder}/{name} (to {folder}/a.wav)" for name in links)
    assert caplog.messages == [f"left out, as links to files of other inputs: {named}"]


def test_links_that_are_named_are_inputs_and_others_of_one_file_are_one(
    folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    target = write_speech(tmp_path / "store" / "x.wav")
    links = [folder / name for name in ("l1.wav", "l2.wav")]
    for link in links:
        link.symlink_to(target)
    layout = Layout(output=str(tmp_path / "out"))
    for inputs in ([*links, links[0]], [target, *links]):
        plan = make_plan(list(map(str, inputs)), layout)
        assert outputs(plan, tmp_path / "out") == list(dict.fromkeys(path.name for path in inputs))
    assert caplog.messages == []
    plan = make_plan([str(folder)], layout)
    assert outputs(plan, tmp_path / "out") == ["a.wav", "l1.wav", "sub/b.flac", "sub/deep/c.wav"]
    assert caplog.messages == [
        f"left out, as links to files of other inputs: {links[1]} (the same file as {links[0]})"
    ]
    plan = make_plan([str(folder), str(links[1])], layout)
    assert outputs(plan, tmp_path / "out") == ["a.wav", "l1.wav", "sub/b.flac", "sub/deep/c.wav", "l2.wav"]
    assert len(caplog.messages) == 1


def test_standard_output_does_not_weaken_the_checks(folder: Path, tmp_path: Path) -> None:
    source, rest = folder / "a.wav", write_speech(tmp_path / "rest.wav")
    for residual, existing, message in (
        (source, "overwrite", "replace its own input"),
        (rest, "refuse", "exists already"),
        ("-", "refuse", "--residual FILE"),
    ):
        layout = Layout(output="-", residual=str(residual), existing=existing)  # type: ignore[arg-type]
        with pytest.raises(PlanError, match=message):
            make_plan([str(source)], layout)
    layout = Layout(output="-", residual=str(rest), existing="skip")
    assert len(make_plan([str(source)], layout).jobs) == 1, (
        "what went to standard output is never there already"
    )


def test_files_of_one_name_are_distinguished(folder: Path) -> None:
    write_speech(folder / "sub" / "a.wav")
    plan = make_plan([str(folder / "a.wav"), str(folder / "sub")], Layout(suffix="_x"))
    assert [job.name for job in plan.jobs] == [
        str(folder / "a.wav"),
        str(folder / "sub" / "a.wav"),
        "b.flac",
        "deep/c.wav",
    ]


def test_a_pipe_in_the_file_system_is_one_input_and_no_output(folder: Path, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe.wav"
    os.mkfifo(pipe)
    assert outputs(make_plan([str(pipe)], Layout(output=str(tmp_path / "x.wav"))), tmp_path) == ["x.wav"]
    with pytest.raises(PlanError, match="cannot be scored"):
        make_plan([str(pipe)], Layout(output=str(tmp_path / "x.wav"), reference=str(folder / "a.wav")))
    with pytest.raises(PlanError, match="not a file"):
        make_plan([str(folder / "a.wav")], Layout(output=str(pipe), existing="overwrite"))


REFUSED: dict[str, tuple[list[str], dict[str, Any], str]] = {
    "missing inputs": (["no1.wav", "no2.wav"], {"output": "out"}, "no such input: no1.wav, no2.wav"),
    "a misspelt input": (["in/sub/bb.flac"], {}, "did you mean in/sub/b.flac[?]$"),
    "a misspelt folder": (["in/subs"], {}, "no such input: in/subs; did you mean in/sub[?]$"),
    "a misspelt name of another ending": (["other/aa-take.flac"], {}, "did you mean 'other/a take.wav'[?]$"),
    "a name of spaces without quotes": (
        ["in/a.wav", "other/a", "take.wav"],
        {},
        "no such input: other/a, take.wav; a name with spaces is put in quotes: 'other/a take.wav'$",
    ),
    "an output without -o": (["in/a.wav", "b.flac"], {}, "b.flac; an output is named with -o: -o b.flac$"),
    "a misspelt input beside -o": (
        ["in/a.wav", "in/sub/bb.flac"],
        {"output": "out"},
        "no such input: in/sub/bb.flac; did you mean in/sub/b.flac[?]$",
    ),
    "nothing that is near": (["in/notes.wav"], {}, "no such input: in/notes.wav$"),
    "pattern without matches": (["in/*.mp3"], {"output": "out"}, "no such input"),
    "folder without audio": (["bare"], {"output": "out"}, "no audio files in bare"),
    "output is input": (
        ["in/a.wav"],
        {"output": "in/a.wav", "existing": "overwrite"},
        "replace its own input",
    ),
    "output folder is input folder": (["in"], {"output": "in", "existing": "overwrite"}, "replace its own"),
    "link to the input": (["in/a.wav"], {"output": "link.wav", "existing": "overwrite"}, "replace its own"),
    "output is reference": (
        ["in/a.wav"],
        {"output": "ref.wav", "reference": "ref.wav", "existing": "overwrite"},
        "replace its own input",
    ),
    "a name too long": (["in/a.wav"], {"output": "out/", "suffix": "x" * 255}, "longer than 255"),
    "names too long": (["in"], {"output": "out/", "suffix": "x" * 255}, "longer than 255"),
    "two inputs of one name": (
        ["in/a.wav", "other/a.wav"],
        {"output": "out"},
        r"outputs of one name: .*give the folder above both, which keeps their folders: \.$",
    ),
    "two folders of the same names": (
        ["deep/x", "deep/y"],
        {"output": "out"},
        "which keeps their folders: deep$",
    ),
    "formats that collide": (
        ["in/a.wav", "other/a.flac"],
        {"output": "out", "format": "ogg"},
        r"by their ending: 'IN/\*\.wav'$",
    ),
    "residual on the output": (["in/a.wav"], {"output": "x.wav", "residual": "x.wav"}, "a name of its own"),
    "several into a file": (["in"], {"output": "out.wav"}, "need a folder"),
    "several into a pipe": (["in"], {"output": "-"}, "takes one recording"),
    "several against one reference": (
        ["in"],
        {"output": "out", "reference": "ref.wav"},
        "folder of references",
    ),
    "missing reference": (["in/a.wav"], {"output": "x.wav", "reference": "no.wav"}, "no such reference"),
    "a misspelt reference": (
        ["in/a.wav"],
        {"output": "x.wav", "reference": "reff.wav"},
        "no such reference: reff.wav; did you mean ref.wav[?]$",
    ),
    "pipe among files": (["-", "in/a.wav"], {"output": "out"}, "goes alone"),
    "pipe with reference": (["-"], {"output": "x.wav", "reference": "ref.wav"}, "cannot be scored"),
    "pipe to pipe with reference": (["-"], {"reference": "ref.wav"}, "cannot be scored"),
    "file to pipe with reference": (
        ["in/a.wav"],
        {"output": "-", "reference": "ref.wav"},
        "cannot be scored",
    ),
    "pipe into a folder": (["-"], {"output": "in"}, "has no name"),
    "stems into a pipe": (
        ["in/a.wav"],
        {"output": "-", "outputs": Outputs(stems=("a", "b"))},
        "takes one of 2 outputs",
    ),
    "a new folder without its slash": (
        ["in/a.wav"],
        {"output": "new"},
        r"^new: for a folder write new/, else give an ending such as new\.wav$",
    ),
    "a new folder for the residual": (
        ["in/sub/b.flac"],
        {"output": "x.wav", "residual": "new"},
        r"^new: for a folder write new/, else give an ending such as new\.flac$",
    ),
    "a new folder for mels": (["in/a.wav"], {"output": "new", "outputs": MelOutputs()}, r"such as new\.npy$"),
    "file as a folder": (["in/a.wav"], {"output": "ref.wav/x.wav"}, "is not a folder"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_mistakes_are_reported_before_work_begins(
    case: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bare").mkdir()
    (tmp_path / "link.wav").symlink_to(folder / "a.wav")
    for name in (
        "ref.wav",
        "other/a take.wav",
        "other/a.wav",
        "other/a.flac",
        "deep/x/a.wav",
        "deep/y/a.wav",
    ):
        write_speech(tmp_path / name, 0.1)
    inputs, layout, message = REFUSED[case]
    with pytest.raises(PlanError, match=message) as caught:
        make_plan(inputs, Layout(**layout))
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 2


def test_a_file_in_two_spellings_is_one_input(folder: Path, tmp_path: Path) -> None:
    spellings = [f"{folder}/a.wav", f"{folder}/sub/../a.wav", f"{folder}/./a.wav"]
    plan = make_plan(spellings, Layout(output=str(tmp_path / "one.wav")))
    assert outputs(plan, tmp_path) == ["one.wav"]


@pytest.mark.parametrize("above", ["/", ValueError("Paths don't have the same drive")])
def test_no_folder_is_named_that_holds_everything(
    above: str | ValueError, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def common(paths: list[str]) -> str:
        if isinstance(above, ValueError):
            raise above
        return above

    write_speech(tmp_path / "other" / "a.wav", 0.1)
    monkeypatch.setattr(os.path, "commonpath", common)
    with pytest.raises(PlanError, match=r"run them apart, into folders of their own$"):
        make_plan([str(folder / "a.wav"), f"{tmp_path}/other/a.wav"], Layout(output=f"{tmp_path}/out"))


def test_folder_that_cannot_be_written(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(PlanError, match="no permission to write"):
        make_plan([str(folder)], Layout(output=str(folder / "out")))


@pytest.mark.parametrize("existing", ["refuse", "skip"])
def test_a_folder_that_cannot_be_read_fails_alone(
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    existing: Existing,
) -> None:
    real = os.scandir

    def scan(place: str | Path) -> Iterator[os.DirEntry[str]]:
        if Path(place) == folder / "sub":
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(place))
        return real(place)

    monkeypatch.setattr(os, "scandir", scan)
    layout = Layout(output=str(tmp_path / "out"), existing=existing)
    reason = f"cannot read the folder {folder}/sub: no permission"
    for found in (folder, folder / "*"):
        plan = make_plan([str(found)], layout)
        assert [(job.name, job.obstacle) for job in plan.jobs] == [
            *(("a.wav", ""), (f"{folder}/sub", reason))
        ]
        assert not plan.skipped
    # Of a place without anything else, one line says why.
    for found in (folder / "sub", folder / "s*"):
        with pytest.raises(PlanError, match=f"^{reason}$"):
            make_plan([str(found)], layout)
    assert not caplog.records


def test_a_listed_output_that_has_no_name_is_not_there_already(folder: Path, tmp_path: Path) -> None:
    there = write_speech(tmp_path / "b.flac")
    entries = [
        Entry(f"{folder}/a.wav", "a.unknown", line=1),
        Entry(f"{folder}/sub/b.flac", str(there), line=2),
    ]
    plan = make_plan([], Layout(listed=entries, existing="skip"))
    assert [job.name for job in plan.skipped] == [f"{folder}/sub/b.flac"]
    assert [bool(job.obstacle) for job in plan.jobs] == [True]
