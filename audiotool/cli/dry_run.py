"""Say what a batch would do: its plan, without any work."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from audiotool.audio import PIPE
from audiotool.cli.screen import emit, say, write, write_document
from audiotool.tasks.options import ProgressKind, TaskOptions
from audiotool.text import one_line, without_credentials

if TYPE_CHECKING:
    from audiotool.batch.job import Job
    from audiotool.batch.plan import Plan


def show_plan(plan: Plan, command: str, options: TaskOptions) -> bool:
    """Print the jobs of a plan, those that are skipped and those that fail among them: as lines, as one JSON
    document, or as events on standard error.

    Args:
        command: name of the command, which the document begins with.
    Returns:
        Whether all jobs can be begun.
    """
    as_events = options.progress is ProgressKind.json
    rows = [_row(job, "skipped") for job in plan.skipped]
    rows += [_row(job, "failed" if job.obstacle else "planned") for job in plan.jobs]
    for row in rows if as_events else ():
        emit("planned", **row)
    if options.as_json:
        write_document(command, plan=rows)
    elif not as_events:
        write("".join(f"{one_line(_line(row))}\n" for row in rows))
    counts = {status: sum(row["status"] == status for row in rows) for status in ("skipped", "failed")}
    words = [f"{count} {status}" for status, count in counts.items() if count]
    left = len(rows) - sum(counts.values())
    if not as_events and not options.quiet:
        say(", ".join([f"a dry run: {left} of {len(rows)} files would be processed", *words]))
    return not counts["failed"]


def _row(job: Job, status: str) -> dict[str, Any]:
    outputs = [without_credentials(place) for place in job.target.places]
    failure = {"error": one_line(job.obstacle)} if status == "failed" else {}
    place = {"input": without_credentials(str(job.source)), "output": outputs}
    return {"file": job.name, "status": status, **place, **failure}


def _line(row: dict[str, Any]) -> str:
    if row["status"] == "failed":
        return f"{row['input']} fails: {row['error']}"
    source = row["file"] if row["input"] == PIPE else row["input"]
    outputs = " and ".join("standard output" if place == PIPE else place for place in row["output"])
    return (
        f"{source} is skipped: {outputs} there already"
        if row["status"] == "skipped"
        else f"{source} -> {outputs}"
    )
