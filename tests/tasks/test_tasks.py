"""Tasks: what their classes declare holds together, and models serve those whose kinds they have."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import pytest

from audiotool import checkpoint, named_checkpoints
from audiotool.errors import PlanError
from audiotool.files.kinds import Outputs
from audiotool.metrics.base import METRICS
from audiotool.tasks.base import TASKS, Task, served_by
from audiotool.tasks.options import TaskOptions
from audiotool.tasks.separate import Separate, SeparateOptions

OURS = ("denoise", "separate", "super-resolve", "vocode")
"""A fifth task is no reason to edit this."""


@dataclass(frozen=True)
class Kinds:
    """Inputs and outputs of a model."""

    takes: tuple[str, ...]
    gives: tuple[str, ...]


@pytest.mark.parametrize(
    ("takes", "gives", "tasks"),
    [
        (("waveform",), ("speech",), ("denoise",)),
        (("waveform",), ("stems", "speech"), ("separate", "denoise")),
        (("waveform",), ("speech", "stems", "wide-band"), ("denoise", "separate", "super-resolve")),
        (("waveform", "enrolment"), ("speech",), ("denoise",)),
        (("mel",), ("speech",), ("vocode",)),
        (("codes",), ("speech",), ()),
    ],
)
def test_models_serve_tasks(takes: tuple[str, ...], gives: tuple[str, ...], tasks: tuple[str, ...]) -> None:
    assert tuple(name for name in served_by(Kinds(takes, gives)) if name in OURS) == tasks


@pytest.mark.parametrize("name", sorted(TASKS.all()))
def test_a_class_declares_what_its_command_needs(name: str) -> None:
    task = TASKS.get(name)
    assert task.__doc__
    assert f"audiotool {name} " in task.__doc__
    assert dataclasses.is_dataclass(task.options_class)
    assert issubclass(task.options_class, TaskOptions)
    assert task.scoring.best in task.scoring.metrics
    assert all(METRICS.get(metric) for metric in task.scoring.metrics)


def test_one_order_of_stems_is_as_good_as_another_only_for_speakers() -> None:
    task = Separate(SeparateOptions(inputs=[]))
    assert task.scored(Outputs(stems=("speaker1", "speaker2"))).any_order
    assert not task.scored(Outputs(stems=("speech", "background"))).any_order


def separate(stems: str | None) -> Task:
    return Separate(SeparateOptions(inputs=[], stems=stems))


def test_stems_decide_the_checkpoint() -> None:
    assert separate(None).outputs(None).stems == ("speaker1", "speaker2")
    outputs = separate("background, speech").outputs(None)
    assert outputs.stems == ("speech", "background")
    assert outputs.last_is_rest
    with pytest.raises(PlanError, match="separates into speaker1,speaker2, not into drums"):
        separate("drums").outputs(None)


def test_defaults_are_of_their_task() -> None:
    for task, name in named_checkpoints.defaults(16000).items():
        assert checkpoint.read_metadata(Path(named_checkpoints.resolve(name))).task == task
