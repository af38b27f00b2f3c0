"""Model cards: the metadata of checkpoints as Markdown."""

from __future__ import annotations

import re
import shlex
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from audiotool import checkpoint, named_checkpoints
from audiotool.atomic import write_text
from audiotool.checkpoint import Metadata
from audiotool.errors import InputError
from audiotool.interpreter import python
from audiotool.metrics.rows import Row, comparable, means
from audiotool.model_facts import Facts, facts_of
from audiotool.report.json_document import read_json_report
from audiotool.report.markdown_table import escaped
from audiotool.tasks.base import TASKS
from audiotool.text import one_line


def write_card(path: Path, card_path: Path | None = None, test: Path | None = None) -> Path:
    """Write the card of a checkpoint file, beside it unless `card_path` says where.

    Args:
        test: folder with noisy/ and clean/, on which the checkpoint is measured for rows of the card.
    Returns:
        Where the card is.
    Raises:
        CheckpointError: the checkpoint cannot be read.
        InputError: the card cannot be written, the folder holds no test set, or it could not be processed.
    """
    target = card_path or path.with_suffix(".md")
    write_text(target, card_of(path, test))
    return target


def card_of(path: Path, test: Path | None = None) -> str:
    """Return the card of a checkpoint file; arguments and errors as of `write_card`."""
    metadata = checkpoint.read_metadata(path)
    facts, _ = facts_of(path, metadata)
    if test is not None:
        metadata.metrics |= measure(path, metadata.task, test, "measured here")
    return card(path, metadata, facts, checkpoint.sha256(path))


def measure(
    path: Path, task: str, test: Path, name: str, options: Sequence[str] = ()
) -> dict[str, dict[str, float]]:
    """Compute mean scores of a checkpoint on a test set, with the task's command.

    Args:
        test: folder with noisy/ and clean/, as `audiotool data mix` renders it.
        name: name of the set in the names of rows.
        options: options of the command.
    Returns:
        {"NAME, 3 files": {metric: mean}, "NAME, input": the same of the unprocessed files}. All means are
        over the same files: "NAME, 3 of 4 files" where one lacks a number.
    Raises:
        InputError: there is no such set, or a file of it failed.
    """
    if not all((test / folder).is_dir() for folder in ("noisy", "clean")):
        raise InputError(f"{test} holds no noisy/ and clean/: `audiotool data mix` renders a test set")
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "report.json")
        words = [task, test / "noisy", "-o", Path(folder, "out"), "--checkpoint", path, "--quiet"]
        words += ["--reference", test / "clean", "--report", report, *options]
        command = python("from audiotool.__main__ import main\nmain()", *map(str, words))
        done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", errors="replace")
        if done.returncode:
            complaints = done.stderr.strip().splitlines() or ["it said nothing"]
            raise InputError(f"{test} could not be processed: {complaints[-1]}")
        return means_of(read_json_report(report).rows, TASKS.get(task).scoring.metrics, name)


def means_of(rows: Sequence[Row], metrics: Sequence[str], name: str) -> dict[str, dict[str, float]]:
    """Return the means of rows for a card, as `measure` does."""
    counted = comparable(rows, *metrics)
    number = len(rows) if len(counted) == len(rows) else f"{len(counted)} of {len(rows)}"
    found = {metric: means(counted, metric) for metric in metrics}
    sides = {
        f"{name}, {number} files": {m: mean.after for m, mean in found.items() if mean.after is not None},
        f"{name}, input": {m: mean.before for m, mean in found.items() if mean.before is not None},
    }
    return {row: values for row, values in sides.items() if values}


def card(path: Path, metadata: Metadata, facts: Facts, digest: str) -> str:
    """Write a checkpoint's card as Markdown; missing facts are written as unknown.

    Args:
        path: the checkpoint, which need not exist.
        digest: hexadecimal SHA-256 of the file.
    """
    use = {
        "task": metadata.task,
        "architecture": f"{facts.name}{', ' + facts.reference if facts.reference else ''}",
        "sample rate": f"{facts.sample_rate} Hz",
        "parameters": "unknown" if facts.parameters is None else f"{facts.parameters:,}",
        "latency": _latency(facts),
        "outputs": ", ".join(facts.stems) or "unknown",
        "licence of the weights": metadata.licence,
        "created": f"{metadata.created}, audiotool {metadata.version}",
    }
    facts_table = f"{_table(('', ''), use.items())}\n| SHA-256 | `{digest}` |"
    parts = [f"# {escaped(path.stem)}", facts_table, escaped(metadata.notes)]
    parts += ["## Use", _code([_use(path, metadata, facts)])]
    parts += ["## Measured", _metrics(metadata.metrics), _code(metadata.commands)]
    parts += [
        "## Training",
        _code(_train(path, metadata)),
        _listing(metadata.training) or "Not known: imported weights.",
    ]
    parts += ["## Data", _sources(metadata.sources)]
    parts += ["## Configuration", _listing(metadata.model.get("config", {}))]
    return "\n\n".join(part for part in parts if part) + "\n"


def _use(path: Path, metadata: Metadata, facts: Facts) -> str:
    name = named_checkpoints.name_of(path)
    model = ("--checkpoint", path.name) if name is None else ("--model", name)
    output = "stems/" if len(facts.stems) > 1 else "out.wav"
    return shlex.join(("audiotool", metadata.task, "in.wav", "-o", output, *model))


def _train(path: Path, metadata: Metadata) -> list[str]:
    if not metadata.recipe:
        return []
    # The recipe's name does not tell where the recipe is, nor what --set changed in it.
    return [shlex.join(("audiotool", "train", path.name, "--set", "data.root=DATA"))]


def _code(commands: Sequence[str]) -> str:
    """Write commands as a block of code, whose fence is longer than any row of backticks in it."""
    if not commands:
        return ""
    lines = [one_line(command) for command in commands]
    fence = "`" * max(3, *(1 + len(row) for row in re.findall("`*", "\n".join(lines))))
    return "\n".join((f"{fence}sh", *lines, fence))


def _latency(facts: Facts) -> str:
    if facts.causal is None:
        return "unknown"
    if facts.latency is None:
        return "looks ahead without bound, and is streamed in segments that are cross-faded"
    latency = f"{facts.latency} samples ({facts.latency_ms:.1f} ms)"
    return latency if facts.causal else f"{latency} of look-ahead, and a segment"


def _metrics(metrics: Mapping[str, Any]) -> str:
    """Write one table of all sets: a row for each set, a column for each metric."""
    sets = {name: values for name, values in metrics.items() if isinstance(values, Mapping)}
    columns = list(dict.fromkeys(key for values in sets.values() for key in values))
    if not columns:
        return "Not measured."
    rows = [(name, *(_number(values.get(c, "")) for c in columns)) for name, values in sets.items()]
    return _table(("set", *columns), rows)


def _sources(sources: Sequence[Mapping[str, Any]]) -> str:
    if not sources:
        return "Not known."
    columns = list(dict.fromkeys(key for source in sources for key in source))
    return _table(columns, [[_number(source.get(c, "")) for c in columns] for source in sources])


def _listing(values: Mapping[str, Any]) -> str:
    lines = (f"{key.replace('_', ' ')}: {_number(value)}" for key, value in values.items())
    return "\n".join(f"- {escaped(line)}" for line in lines)


def _table(heading: Sequence[str], rows: Any) -> str:
    lines = [map(escaped, heading), ["---"] * len(heading), *(map(escaped, row) for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _number(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, (list, tuple)):
        return ", ".join(map(_number, value))
    if isinstance(value, Mapping):
        return ", ".join(f"{key.replace('_', ' ')} {_number(item)}" for key, item in value.items())
    return str(value)
