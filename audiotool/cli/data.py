"""`audiotool data`: manifests of recordings, and fixed sets of training examples."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from audiotool.cli.named_output import named, refuse_existing
from audiotool.cli.screen import counting, say, write, write_document
from audiotool.cli.usage import Group
from audiotool.errors import InputError, PlanError, as_plan_error
from audiotool.tasks import completion
from audiotool.tasks.options import AsJson
from audiotool.text import one_line

if TYPE_CHECKING:
    from audiotool.data.scan import Scan

app = typer.Typer(cls=Group, add_completion=False, no_args_is_help=True, help="Manifests and training data.")

MANIFEST = typer.Option("--output", "-o", help="The manifest to write (.csv).", callback=named)
OVERWRITE = typer.Option("--overwrite", help="Replace a manifest that exists.")


class Kind(str, Enum):
    """Kind of the recordings in a scanned folder."""

    speech = "speech"
    noise = "noise"
    music = "music"
    rir = "rir"
    pair = "pair"


class Split(str, Enum):
    """Split of the rows of a manifest."""

    auto = "auto"
    train = "train"
    valid = "valid"
    test = "test"


@app.command("scan")
def scan_(
    folder: Annotated[Path, typer.Argument(help="A folder of audio, searched recursively.")],
    output: Annotated[Path, MANIFEST],
    kind: Annotated[
        Kind | None,
        typer.Option(
            help="Kind of the recordings; speech unless given, pair with --targets.", show_default=False
        ),
    ] = None,
    targets: Annotated[
        Path | None,
        typer.Option(
            metavar="CLEAN",
            help="Folder of the clean recordings, found by the same path, ending aside: rows are pairs.",
            show_default=False,
        ),
    ] = None,
    stems: Annotated[
        str | None,
        typer.Option(
            metavar="NAMES",
            help="Names of several targets, with commas, in the order of the model's outputs: each is"
            " CLEAN/NAME.STEM.wav or CLEAN/STEM/NAME.wav.",
            show_default=False,
        ),
    ] = None,
    speaker_pattern: Annotated[
        str | None,
        typer.Option(
            metavar="REGEX",
            help="Finds the speaker (or class) in a relative path: its first group. Unless given, a speaker"
            " is a folder of the first level that has three or more, a class the file's own folder.",
            show_default=False,
        ),
    ] = None,
    split: Annotated[
        Split, typer.Option(help="Split of all rows, or auto: 5 % valid, 5 % test, by speaker or by file.")
    ] = Split.auto,
    source: Annotated[
        str, typer.Option(help="Name in the list of sources; that of the folder unless given.")
    ] = "",
    licence: Annotated[
        str, typer.Option(help="Licence of the recordings, for the list of sources.")
    ] = "unknown",
    overwrite: Annotated[bool, OVERWRITE] = False,
    as_json: AsJson = False,
) -> None:
    """Write a manifest of a folder: paths, durations, rates, speakers, splits.

    audiotool data scan speech/ -o speech.csv
    audiotool data scan noisy/ --targets clean/ -o pairs.csv
    audiotool data scan mixtures/ --targets voices/ --stems speaker1,speaker2 -o pairs.csv
    """
    from audiotool.data.manifest import write_manifest
    from audiotool.data.pairs import scan_pairs
    from audiotool.data.scan import by_pattern, scan

    _check_manifest(output, overwrite)
    names = [] if stems is None else [name.strip() for name in stems.split(",")]
    _check_pairs(kind, targets, names)
    group = by_pattern(speaker_pattern) if speaker_pattern is not None else None
    with counting("scanning") as tick:
        if targets is None:
            kept = (kind or Kind.speech).value
            found = scan(folder, kept, group, split.value, source, licence, progress=tick)
        else:
            found = scan_pairs(folder, targets, names, group, split.value, source, licence, tick)
    write_manifest(output, found.entries)
    _print_summary("data scan", found, output, as_json)


@app.command()
def prepare(
    corpus: Annotated[str, typer.Argument(help="voicebank, dns, librimix, ljspeech, vctk, or a plug-in's.")],
    folder: Annotated[Path, typer.Argument(help="Folder of the unpacked corpus.")],
    output: Annotated[Path, MANIFEST],
    part: Annotated[
        str | None,
        typer.Option(
            help="Part of it: 28spk or 56spk, mix_clean or mix_both, mic1 or mic2.", show_default=False
        ),
    ] = None,
    overwrite: Annotated[bool, OVERWRITE] = False,
    as_json: AsJson = False,
) -> None:
    """Check the unpacked folder of a public corpus, and write its manifest. Nothing is downloaded."""
    from audiotool.data.corpora.base import CORPORA
    from audiotool.data.manifest import write_manifest

    _check_manifest(output, overwrite)
    with as_plan_error():
        chosen = CORPORA.get(corpus)
    if part is not None and part not in chosen.parts:
        raise typer.BadParameter(
            f"{corpus} has {'the parts ' + ', '.join(chosen.parts) if chosen.parts else 'no parts'}",
            param_hint="--part",
        )
    default = chosen.parts[0] if chosen.parts else ""
    with counting("reading") as tick:
        found = chosen().prepare(folder, part or default, tick)
    if not found.entries:
        raise InputError(f"{folder}: nothing of {corpus} is there; expected: {chosen.layout}")
    splits = {entry.split for entry in found.entries}
    found.notes += [f"{s.value} is empty" for s in Split if s is not Split.auto and s.value not in splits]
    write_manifest(output, found.entries)
    _print_summary("data prepare", found, output, as_json)


@app.command()
def mix(
    recipe: Annotated[
        str,
        typer.Argument(
            help="A YAML file, a bundled recipe's name, or a checkpoint that holds one.",
            autocompletion=completion.recipes,
        ),
    ],
    output: Annotated[
        Path,
        typer.Option("--output", "-o", help="Folder for noisy/, clean/ and index.csv.", callback=named),
    ],
    split: Annotated[
        Split, typer.Option(metavar="train|valid|test", help="Split of the recordings that are mixed.")
    ] = Split.test,
    count: Annotated[int, typer.Option(min=1, help="Examples to render.")] = 100,
    seed: Annotated[
        int | None, typer.Option(min=0, help="Seed in place of the recipe's.", show_default=False)
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="KEY=VALUE", help="Override a key of the recipe: data.evaluation.snr_db=[0,5]."
        ),
    ] = None,
    workers: Annotated[int, typer.Option(min=1, help="Processes; any number gives the same result.")] = 1,
    as_json: AsJson = False,
) -> None:
    """Render a fixed set of a recipe's examples to disk: the same files for the same seed."""
    from audiotool.recipe import find, load

    if split is Split.auto:
        raise typer.BadParameter("a set is of the train, valid or test split", param_hint="--split")
    if output.is_dir() and any(output.iterdir()):
        # Examples left of an older set would be scored with the new ones.
        raise PlanError(f"{output} is not empty: choose another folder for the set")
    loaded = load(recipe, list(settings or []))
    data = loaded.data.located(find(recipe).parent)
    # Imported here because it loads torch: errors of the recipe come first.
    from audiotool.data.dataset import make_dataset
    from audiotool.data.mixed_set import write_set
    from audiotool.models.registry import MODELS
    from audiotool.tasks.base import TASKS

    if seed is not None:
        data = data.model_copy(update={"seed": seed})
    model = MODELS.get(loaded.model.name).outline(loaded.model.config)
    with counting("decoding") as tick:
        dataset = make_dataset(data, loaded.audio, TASKS.get(loaded.task).example, split.value, count, tick)
    with counting("mixing") as tick:
        count = len(dataset)
        write_set(dataset, output, range(count), workers, lambda done: tick(done, count), model.stems)
    if as_json:
        skipped = list(map(str, dataset.skipped))
        write_document("data mix", output=str(output / "index.csv"), examples=count, skipped=skipped)
    else:
        write(one_line(str(output / "index.csv")) + "\n")
    for path in dataset.skipped:
        say(f"left out, cannot be read: {path}")


def _check_manifest(output: Path, overwrite: bool) -> None:
    """Check the name of a manifest before anything is read.

    Raises:
        PlanError: it does not end in .csv, or exists and is not to be replaced.
    """
    if output.suffix.lower() != ".csv":
        raise PlanError(f"{output}: a manifest ends in .csv")
    refuse_existing(output, overwrite)


def _check_pairs(kind: Kind | None, targets: Path | None, stems: list[str]) -> None:
    """Check that the options of pairs are given together.

    Raises:
        PlanError: one is missing or of another kind, or a stem has no name or that of another.
    """
    if targets is None and (stems or kind is Kind.pair):
        raise PlanError("pairs need the folder of the clean recordings: give --targets")
    if targets is not None and kind not in (None, Kind.pair):
        raise PlanError(f"--targets makes pairs: leave --kind {kind.value} out")
    if "" in stems or len(set(stems)) < len(stems):
        raise PlanError(f"--stems {','.join(stems)}: each stem has a name of its own")


def _print_summary(command: str, found: Scan, output: Path, as_json: bool) -> None:
    """Print the path of the manifest on standard output, its contents and gaps on standard error; or all of
    it as the command's JSON document."""
    splits = {name: _contents(found, name) for name in sorted({e.split for e in found.entries})}
    left_out = list(found.unreadable.values())
    if as_json:
        facts = {"splits": splits, "notes": list(found.notes), "left_out": left_out}
        write_document(command, output=str(output), **facts)
        return
    write(one_line(str(output)) + "\n")
    for split, has in splits.items():
        rates = ", ".join(map(str, has["sample_rates"]))
        say(
            f"{split}: {has['files']} files, {has['seconds'] / 60:.1f} minutes,"
            f" {has['groups']} speakers or classes, {rates} Hz"
        )
    for note in found.notes:
        say(note)
    for reason in left_out:
        say(f"left out: {reason}")


def _contents(found: Scan, split: str) -> dict[str, Any]:
    """Return the hours, speakers, rates and files of one split."""
    rows = [e for e in found.entries if e.split == split]
    return {
        "files": len(rows),
        "seconds": sum(e.seconds for e in rows),
        "groups": len({e.group for e in rows}),
        "sample_rates": sorted({e.sample_rate for e in rows}),
    }
