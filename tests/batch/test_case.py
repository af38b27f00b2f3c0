"""Plans where names differ in case or normalisation alone, which some file systems do not tell apart."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from kit.audio import write_speech

from audiotool.batch.plan import Layout, make_plan
from audiotool.errors import PlanError


@pytest.fixture
def ignoring_case(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The current folder, on a disk that finds names in any case, as those of macOS and Windows do."""
    monkeypatch.chdir(tmp_path)

    def there(path: Any) -> Any:
        if not isinstance(path, (str, os.PathLike)):
            return path
        text = os.path.abspath(path)
        if not text.startswith(f"{tmp_path}{os.sep}"):
            return path
        found = str(tmp_path)
        for part in Path(text).relative_to(tmp_path).parts:
            with contextlib.suppress(OSError):
                part = next((n for n in os.listdir(found) if n.lower() == part.lower()), part)
            found = os.path.join(found, part)
        return found

    plain = {name: getattr(os, name) for name in ("stat", "lstat", "access")}

    def find(name: str) -> Callable[..., Any]:
        return lambda path, *rest, **options: plain[name](there(path), *rest, **options)

    for name in plain:
        monkeypatch.setattr(os, name, find(name))


@pytest.mark.usefixtures("ignoring_case")
@pytest.mark.parametrize(
    ("inputs", "output"), [("Takes", "takes"), ("Takes/one.wav", "Takes/One.WAV"), ("Takes/*.wav", "TAKES/")]
)
def test_no_output_replaces_an_input_whose_name_is_in_another_case(inputs: str, output: str) -> None:
    write_speech(Path("Takes/one.wav"), 0.1)
    with pytest.raises(PlanError, match="an output would replace its own input"):
        make_plan([inputs], Layout(output=output, existing="overwrite"))


@pytest.mark.usefixtures("ignoring_case")
@pytest.mark.parametrize("inputs", ["In", "In/**/*.wav"])
@pytest.mark.parametrize("places", [{"output": "in/clean"}, {"output": "in", "suffix": "_x"}])
def test_outputs_in_a_folder_named_in_another_case_are_no_inputs(inputs: str, places: dict[str, Any]) -> None:
    write_speech(Path("In/one.wav"), 0.1)
    write_speech(Path("In/clean/one.wav" if "suffix" not in places else "In/one_x.wav"), 0.1)
    plan = make_plan([inputs], Layout(**places, existing="skip"))
    assert [job.name for job in (*plan.jobs, *plan.skipped)] == ["one.wav"]


def test_inputs_and_outputs_that_differ_in_case_are_two_where_the_file_system_says_so(
    folder: Path, tmp_path: Path
) -> None:
    if (tmp_path / "IN").exists():
        pytest.skip("this file system takes them for one")
    plan = make_plan([str(folder)], Layout(output=str(tmp_path / "IN"), existing="overwrite"))
    assert len(plan.jobs) == 3
    write_speech(tmp_path / "IN" / "a.wav", 0.1)
    assert len(make_plan([str(folder)], Layout(output=str(tmp_path / "IN"), existing="overwrite")).jobs) == 3


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (("weiss.wav", "weiß.wav"), None),
        (("weiß.wav", "WEIß.wav"), "differ in case alone, .*: rename one$"),
        (("ΟΔΟΣ.wav", "οδος.wav"), "differ in case alone, .*: rename one$"),
        (("\u00e9.wav", "e\u0301.wav"), "differ in Unicode normalisation alone, .*: rename one$"),
        (("A/x.wav", "a/x.wav"), "differ in case alone, .*: rename one$"),
    ],
)
def test_names_that_some_file_systems_do_not_tell_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, names: tuple[str, str], words: str | None
) -> None:
    for name in names:
        write_speech(tmp_path / "in" / name, 0.1)
    if len(list((tmp_path / "in").iterdir())) == 1:
        pytest.skip("this file system takes them for one")
    layout = Layout(output=str(tmp_path / "out"))
    plan = make_plan([str(tmp_path / "in")], layout)
    places = [str(path.relative_to(tmp_path / "out")) for job in plan.jobs for path in job.target.paths]
    assert sorted(places) == sorted(names)
    assert [path.name for path in tmp_path.iterdir()] == ["in"], "what was tried is removed"
    monkeypatch.setattr(os.path, "lexists", lambda path: True)
    if words is None:
        assert len(make_plan([str(tmp_path / "in")], layout).jobs) == 2
        return
    with pytest.raises(PlanError, match=words) as caught:
        make_plan([str(tmp_path / "in")], layout)
    assert all(name in str(caught.value) for name in names)


def test_two_folders_that_differ_in_case_are_tried_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [write_speech(tmp_path / "in" / f"{a}/x{n}.wav", 0.1) for n in range(5) for a in "Aa"]
    if len({path.stat().st_ino for path in paths}) == 5:
        pytest.skip("this file system takes them for one")
    made = Mock(wraps=tempfile.TemporaryDirectory)
    monkeypatch.setattr("tempfile.TemporaryDirectory", made)
    assert len(make_plan([str(tmp_path / "in")], Layout(output=str(tmp_path / "out"))).jobs) == 10
    assert made.call_count == 1


def test_names_that_differ_in_case_clash_where_the_file_system_cannot_be_tried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("in/a.wav", "other/A.wav"):
        write_speech(tmp_path / name, 0.1)

    def refused(*_: object, **__: object) -> None:
        raise PermissionError

    monkeypatch.setattr("tempfile.TemporaryDirectory", refused)
    with pytest.raises(PlanError, match=r"outputs of one name: .*which keeps their folders"):
        make_plan([f"{tmp_path}/in/a.wav", f"{tmp_path}/other/A.wav"], Layout(output=f"{tmp_path}/out"))
