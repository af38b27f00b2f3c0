"""Outputs that exist already: refused, skipped, replaced, or no inputs of a second run."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from kit.audio import write_speech

from audiotool.batch.job import Existing
from audiotool.batch.plan import Layout, Plan, make_plan
from audiotool.errors import PlanError
from audiotool.files.kinds import Outputs


def write_outputs(plan: Plan) -> None:
    """Write something to every output."""
    for job in plan.jobs:
        for path in job.target.paths:
            write_speech(path)


def test_outputs_inside_the_input_folder_are_no_inputs(folder: Path) -> None:
    out = str(folder / "out")
    write_speech(folder / "out" / "a.wav")
    assert len(make_plan([str(folder)], Layout(output=out, existing="overwrite")).jobs) == 3
    with pytest.raises(PlanError, match=r"exists? already"):
        make_plan([str(folder)], Layout(output=out))


def test_existing_outputs(folder: Path, tmp_path: Path) -> None:
    out = str(tmp_path / "out")
    write_speech(tmp_path / "out" / "sub" / "b.flac")
    with pytest.raises(PlanError, match="--skip-existing"):
        make_plan([str(folder)], Layout(output=out))
    skipping = make_plan([str(folder)], Layout(output=out, existing="skip"))
    assert [j.name for j in skipping.skipped] == ["sub/b.flac"]
    assert [j.name for j in skipping.jobs] == ["a.wav", "sub/deep/c.wav"]
    assert {j.existing for j in skipping.jobs} == {"skip"}
    assert len(make_plan([str(folder)], Layout(output=out, existing="overwrite")).jobs) == 3


def test_of_outputs_that_are_made_together_none_is_replaced_alone(folder: Path, tmp_path: Path) -> None:
    """What is there may be of another model, or of other --stems."""
    out = tmp_path / "out"
    outputs = Outputs("separated", ("speech", "background"), last_is_rest=True)
    layout = Layout(output=str(out), outputs=outputs, existing="skip")
    there = write_speech(out / "a.background.wav")
    plan = make_plan([str(folder)], layout)
    assert [(job.name, bool(job.obstacle)) for job in plan.jobs] == [
        *(("sub/b.flac", False), ("sub/deep/c.wav", False), ("a.wav", True))
    ]
    assert plan.jobs[-1].obstacle.startswith(f"there is {there} already, without {out}/a.speech.wav, and")
    with pytest.raises(PlanError, match="--overwrite replaces what is there"):
        make_plan([str(folder / "a.wav")], layout)
    # What is older than its input is made again, with what is missing.
    changed = (folder / "a.wav").stat().st_mtime
    os.utime(there, (changed - 1, changed - 1))
    assert not any(job.obstacle for job in make_plan([str(folder)], layout).jobs)
    os.utime(there)
    write_speech(out / "a.speech.wav")
    assert [job.name for job in make_plan([str(folder)], layout).skipped] == ["a.wav"]


def test_an_input_that_changed_is_done_again(folder: Path, tmp_path: Path) -> None:
    layout = Layout(output=str(tmp_path / "out"), existing="skip")
    write_outputs(make_plan([str(folder)], layout))
    written = (tmp_path / "out" / "a.wav").stat().st_mtime
    os.utime(folder / "a.wav", (written + 1, written + 1))
    plan = make_plan([str(folder)], layout)
    assert [job.name for job in plan.jobs] == ["a.wav"]
    assert len(plan.skipped) == 2


@pytest.mark.parametrize(
    ("inputs", "places"),
    [
        (["in"], {"suffix": "_x"}),
        (["in"], {"output": "in/clean", "residual": "in/removed"}),
        (["in/**/*.wav"], {"output": "in/clean"}),
    ],
)
def test_a_second_run_takes_no_outputs_for_inputs(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, inputs: list[str], places: dict[str, Any]
) -> None:
    monkeypatch.chdir(tmp_path)
    first = make_plan(inputs, Layout(**places))
    write_outputs(first)
    second = make_plan(inputs, Layout(**places, existing="skip"))
    assert not second.jobs
    third = make_plan(inputs, Layout(**places, existing="overwrite"))
    assert [[job.target for job in jobs] for jobs in (second.skipped, third.jobs)] == [
        [job.target for job in first.jobs]
    ] * 2
    with pytest.raises(PlanError, match=r"exists? already"):
        make_plan(inputs, Layout(**places))


@pytest.mark.parametrize("existing", ["refuse", "overwrite", "skip"])
def test_a_recording_is_not_taken_for_the_output_of_another_in_its_place(
    folder: Path, existing: Existing
) -> None:
    """The folder holds a.wav and another recording, a.flac, under which the output of a.wav would come."""
    write_speech(folder / "a.flac")
    layout = Layout(output=str(folder), format="flac", existing=existing)
    with pytest.raises(PlanError, match=r"outputs of one name: .*a\.flac and .*a\.wav .*'IN/\*\.wav'$"):
        make_plan([str(folder)], layout)


def test_outputs_that_are_no_inputs_are_named(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_speech(folder / "a_x.wav")
    plan = make_plan([str(folder)], Layout(suffix="_x", existing="skip"))
    assert [job.name for job in (*plan.skipped, *plan.jobs)] == ["a.wav", "sub/b.flac", "sub/deep/c.wav"]
    assert caplog.messages == [f"left out, as outputs of other inputs: {folder}/a_x.wav (of {folder}/a.wav)"]


def test_an_output_that_is_named_as_an_input_is_one(folder: Path) -> None:
    """Beside the inputs again: who names the file means it, and is not made to lose it."""
    made = write_speech(folder / "a_x.wav")
    with pytest.raises(PlanError, match="replace its own input"):
        make_plan([str(folder / "a.wav"), str(made)], Layout(suffix="_x", existing="overwrite"))


def test_finished_outputs_are_skipped_where_nothing_can_be_written(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    layout = Layout(output=str(tmp_path / "out"), existing="skip")
    write_outputs(make_plan([str(folder)], layout))
    monkeypatch.setattr("audiotool.batch.checks.folder_obstacle", lambda folder: "it is read-only")
    plan = make_plan([str(folder)], layout)
    assert (len(plan.jobs), len(plan.skipped)) == (0, 3)
    (tmp_path / "out" / "a.wav").unlink()
    plan = make_plan([str(folder)], layout)
    assert [job.obstacle for job in plan.jobs] == [f"cannot write {tmp_path}/out/a.wav: it is read-only"]
