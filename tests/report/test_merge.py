"""Reports of shards become one: all rows, means of all, and a word on what is missing."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest
from kit.audio import write_speech
from kit.command import run_command

from audiotool.errors import InputError
from audiotool.metrics.rows import Row, summary
from audiotool.metrics.values import Curve, Value
from audiotool.report.csv_table import curves_to_csv, read_csv
from audiotool.report.merge import are_shards, check_distinct, merged, missing_shards, read_sources
from audiotool.report.read import check_readable, read_report
from audiotool.report.report import Report, Run
from audiotool.report.write import FORMATS, is_report, write_reports


def row(name: str, pesq: float | None, noisy: float = 1.5) -> Row:
    return Row(
        name,
        {"pesq": Value(pesq, None if pesq is not None else "silent")},
        {"pesq": Value(noisy)},
        {"status": "done", "input": f"in/{name}", "peak": 0.5},
        ["resampled"] if name == "a.wav" else [],
    )


REPORTS = (
    Report(
        [row("a.wav", 2.0), row("b, c.wav", None)], Run("one", "2026-01-01T00:00:00", 1.0, "m", "0.1", "x")
    ),
    Report([row("mean", 3.0)], Run("two", "2026-01-01T00:00:00", 1.0, "m", "0.1", "y")),
)


def written(folder: Path, ending: str) -> list[Path]:
    paths = [folder / f"report-000{n}-of-0002.{ending}" for n in (1, 2)]
    for path, report in zip(paths, REPORTS, strict=True):
        write_reports([path], report)
    return paths


@pytest.mark.parametrize("ending", ["json", "csv"])
def test_rows_are_joined_and_means_made_again(tmp_path: Path, ending: str) -> None:
    out = tmp_path / f"all.{ending}"
    result = run_command("report", "merge", *map(str, written(tmp_path, ending)), "-o", out)
    assert result.exit_code == 0, result.output
    whole = read_report(out)
    assert [r.name for r in whole.rows] == ["a.wav", "b, c.wav", "mean"]
    assert whole.rows[0].values["pesq"].value == 2.0
    assert whole.rows[0].baseline["pesq"].value == 1.5
    assert whole.rows[1].reasons["pesq"] == "silent"
    assert whole.rows[0].notes == ["resampled"]
    assert whole.rows[0].facts["input"] == "in/a.wav"
    assert summary(whole.rows)["pesq"] == {"mean": 2.5, "scored": 2, "null": 1}


def test_rows_of_shards_are_in_the_order_of_the_whole_batch(tmp_path: Path) -> None:
    """That is by the names and outputs of jobs; the scored stems of a job stay in their order."""

    def made(name: str, output: str) -> Row:
        return Row(name, facts={"status": "done", "input": "in/a.wav", "output": output})

    shards = (
        [made("b.wav", "out/b.wav"), made("c.wav: 2.wav", "out/2.wav"), made("c.wav: 1.wav", "out/1.wav")],
        [made("a.wav", "out/a.wav"), made("b.wav", "out/again.wav")],
    )
    paths = [tmp_path / f"r-000{n}-of-0002.json" for n in (1, 2)]
    for path, rows in zip(paths, shards, strict=True):
        write_reports([path], Report(rows, Run("one")))
    found = [Path(str(r.facts["output"])).name for r in merged(read_sources(paths)).rows]
    assert found == ["a.wav", "again.wav", "b.wav", "2.wav", "1.wav"]


def test_equal_fields_of_reports_are_kept(tmp_path: Path) -> None:
    run = merged(read_sources(written(tmp_path, "json"))).run
    assert (run.command, run.started, run.version, run.model) == (None, "2026-01-01T00:00:00", "0.1", None)


def test_a_report_given_twice_is_refused(tmp_path: Path) -> None:
    both = [path for ending in ("json", "csv") for path in written(tmp_path, ending)]
    check_distinct(both[:2])
    check_distinct([tmp_path / "one.json", tmp_path / "one.csv"])
    with pytest.raises(InputError, match=r"0001-of-0002\.json and .*0001-of-0002\.csv are one report"):
        check_distinct(both)
    done = run_command("report", "merge", *both, "-o", tmp_path / "all.csv")
    assert done.exit_code == 2
    assert not (tmp_path / "all.csv").exists()
    with pytest.raises(InputError, match="are one report"):
        check_distinct([tmp_path / "one.json", tmp_path / "folder" / ".." / "one.json"])


@pytest.mark.parametrize("output", [5, [{}], {"a": "b"}])
def test_outputs_of_a_foreign_report_may_be_anything(output: object, tmp_path: Path) -> None:
    paths = [tmp_path / f"a-{n}-of-2.json" for n in (1, 2)]
    for path in paths:
        row = {"file": f"{path.stem}.wav", "output": output, "reasons": {}, "notes": []}
        document = {"schema": 1, "audiotool": "0.2.0", "command": "denoise", "run": {}, "files": [row]}
        path.write_text(json.dumps(document | {"summary": {}}))
    done = run_command("report", "merge", *paths, "-o", tmp_path / "all.json")
    assert done.exit_code == 0, done.stderr
    assert [row["output"] for row in json.loads((tmp_path / "all.json").read_text())["files"]] == [output] * 2


def test_missing_shards_are_named(tmp_path: Path) -> None:
    first = written(tmp_path, "csv")[:1]
    write_reports([tmp_path / "other.csv"], REPORTS[0])
    for others in ([], [tmp_path / "other.csv"]):
        assert missing_shards(read_sources([*first, *others])) == ["report-0002-of-0002.csv"]
    words = ["report", "merge", str(first[0]), "-o", str(tmp_path / "all.csv")]
    for more in ([], ["--quiet"], ["--json"]):
        result = run_command(*words, *more)
        assert result.exit_code == 1
        assert "1 shard has no report here: report-0002-of-0002.csv" in result.stderr
        assert [row.name for row in read_report(tmp_path / "all.csv").rows] == ["a.wav", "b, c.wav"]
    assert json.loads(result.stdout)["missing"] == ["report-0002-of-0002.csv"]


def test_missing_shards_with_names_of_their_own_are_named(tmp_path: Path) -> None:
    """JSON says which shard it is of."""
    paths = []
    for model, numbers in (("x", (1, 3)), ("y", (1, 2, 3))):
        for n in numbers:
            paths.append(tmp_path / f"{model}_{n}_of_3.json")
            facts = {"status": "done", "output": f"{model}{n}.wav"}
            run = Run.begin("audiotool", model=model, shard=f"{n}/3")
            write_reports([paths[-1]], Report([Row(f"{n}.wav", facts=facts)], run))
    done = run_command("report", "merge", *paths, "-o", tmp_path / "all.json", "--json")
    assert (done.exit_code, json.loads(done.stdout)["missing"]) == (1, ["shard 2/3"])
    assert "1 shard has no report here: shard 2/3" in done.stderr
    for given, are in ((paths[:2], True), (paths, False), ([*paths[:1], tmp_path / "all.json"], False)):
        assert are_shards(read_sources(given)) == are


def test_interrupted_shards_are_named(tmp_path: Path) -> None:
    paths = [tmp_path / f"sh-000{n}-of-0002.json" for n in (1, 2)]
    for n, path, finished in zip((1, 2), paths, (4, 2), strict=True):
        rows = [Row(f"{n}{m}.wav", facts={"status": "done"}) for m in range(finished)]
        run = Run.begin("audiotool denoise", shard=f"{n}/2", planned=4, finished=finished)
        write_reports([path], Report(rows, run, "denoise"))
    outputs = [tmp_path / f"all{ending}" for ending in FORMATS]
    words = [word for path in outputs for word in ("-o", path)]
    done = run_command("report", "merge", *paths, *words, "--json", "--overwrite")
    document = json.loads(done.stdout)
    assert (done.exit_code, document["missing"], document["interrupted"]) == (1, [], [str(paths[1])])
    assert f"interrupted before its end: {paths[1]}; --skip-existing" in " ".join(done.stderr.split())
    run = json.loads((tmp_path / "all.json").read_text())["run"]
    assert (run["planned"], run["finished"]) == (8, 6)
    markdown, page = ((tmp_path / f"all{ending}").read_text() for ending in (".md", ".html"))
    assert markdown.startswith("# audiotool report: 6 of 8 files, interrupted\n")
    assert "Denoise, 6 of 8 files, interrupted" in page
    assert "<small>of 8, interrupted</small>" in page
    assert all(map(is_report, outputs))
    shown = run_command("report", "show", tmp_path / "all.json", "-o", tmp_path / "again.md")
    assert "6 rows (6 of 8 files, interrupted): " in " ".join(shown.stderr.split())
    whole = run_command("report", "merge", paths[0], "-o", tmp_path / "one.json", "--json", "--quiet")
    assert json.loads(whole.stdout)["interrupted"] == []


def test_a_report_of_more_shards_than_anyone_has_names_none(tmp_path: Path) -> None:
    for path in (tmp_path / "a.json", tmp_path / "r-1-of-99999999.json"):
        write_reports([path], Report([], Run.begin("audiotool", model="x", shard="1/99999999")))
        [source] = read_sources([path])
        assert missing_shards([source]) == []
        assert not are_shards([source])


def test_a_file_in_several_rows_is_named(tmp_path: Path) -> None:
    # The reports of two systems, say: their scores would become one mean.
    for name, score in (("one", 2.0), ("other", 3.0)):
        write_reports([tmp_path / f"{name}.json"], Report([Row("a.wav", {"pesq": Value(score)})]))
    write_reports([tmp_path / "alone.json"], Report([Row("c.wav")]))
    words = ["report", "merge", str(tmp_path / "one.json"), str(tmp_path / "other.json"), "-o"]
    done = run_command(*words, tmp_path / "all.json", "--json")
    assert done.exit_code == 0
    assert json.loads(done.stdout)["repeated"] == ["a.wav"]
    assert "a.wav has several rows" in done.stderr
    assert "evaluate --against" in done.stderr
    reports = [str(tmp_path / f"{name}.json") for name in ("one", "other")]
    assert [row.facts["report"] for row in read_report(tmp_path / "all.json").rows] == reports
    write_reports([tmp_path / "third.json"], Report([Row("b.wav"), Row("a.wav")]))
    outputs = [str(tmp_path / f"more{ending}") for ending in FORMATS]
    again = [str(tmp_path / f"{name}.json") for name in ("all", "third")]
    again += [word for output in outputs for word in ("-o", output)]
    assert run_command("report", "merge", *again).exit_code == 0
    sources = [*reports, *[str(tmp_path / "third.json")] * 2]
    assert [row.facts["report"] for row in read_report(tmp_path / "more.csv").rows] == sources
    assert "| a.wav | done | 2.000 | " in (tmp_path / "more.md").read_text()
    assert all((tmp_path / f"more.{ending}").read_text().count("other.json") for ending in ("md", "html"))
    assert (
        "report" not in merged(read_sources([tmp_path / "one.json", tmp_path / "alone.json"])).rows[0].facts
    )
    alone = run_command(*words[:3], "-o", tmp_path / "b.json", "--json")
    assert json.loads(alone.stdout)["repeated"] == []
    assert "several rows" not in alone.stderr


@pytest.mark.parametrize("ending", ["json", "csv"])
def test_a_file_that_two_shards_did_is_named(tmp_path: Path, ending: str) -> None:
    # A recording grew between their starts, and took the place of another in the second share.
    for number, names in ((1, ["a.wav", "b.wav"]), (2, ["b.wav"])):
        rows = [Row(name, facts={"status": "done", "output": f"out/{name}"}) for name in names]
        rows += [Row("c.wav", facts={"status": "done", "output": f"out/{number}.wav"})]  # two lines of a list
        rows += [Row("d.wav", facts={"status": "done", "output": ["out/d.1.wav", "out/d.2.wav"]})]
        write_reports([tmp_path / f"r-000{number}-of-0002.{ending}"], Report(rows))
    reports = [str(tmp_path / f"r-000{number}-of-0002.{ending}") for number in (1, 2)]
    done = run_command("report", "merge", *reports, "-o", tmp_path / "all.json")
    assert done.exit_code == 1
    assert "several shards did b.wav, d.wav: " in " ".join(done.stderr.split())
    assert "--skip-existing, without --shard" in " ".join(done.stderr.split())
    assert len(read_report(tmp_path / "all.json").rows) == 7


@pytest.mark.parametrize("ending", ["json", "csv"])
def test_the_whole_is_written_in_any_format(tmp_path: Path, ending: str) -> None:
    recording = write_speech(tmp_path / "in" / "a.wav", 0.5)
    outputs = [tmp_path / f"all{ending}" for ending in FORMATS]
    sources = list(map(str, written(tmp_path, ending)))
    words = [word for path in outputs for word in ("-o", str(path))]
    result = run_command("report", "merge", *sources, *words, "--report-audio", "link")
    assert result.exit_code == 0, result.output
    page = (tmp_path / "all.html").read_text()
    assert "Report, 3 files" in page
    # A path that leads to nothing from here is looked for beside the reports.
    assert page.count(f'"sound":"in/{recording.name}"') == 1
    assert all(path.stat().st_size for path in outputs)
    document = json.loads((tmp_path / "all.json").read_text())
    assert document["command"] == ("evaluate" if ending == "json" else "report merge")
    assert [entry["peak"] for entry in document["files"]] == [0.5] * 3
    assert document["summary"]["pesq"] == {"mean": 2.5, "scored": 2, "null": 1}


def test_facts_come_back_from_csv_as_they_were(tmp_path: Path) -> None:
    facts = {
        "status": "done",
        "input": "2026",
        "output": ["a.voice.wav", "a.noise.wav"],
        "seconds": 1.5,
        "sample_rate": 16000,
        "limited": 0,
        "peak": 1e-5,
        "model": "3",
        "settings": {"mix": 0.8, "remove": "a=b", "max_attenuation_db": None, "stereo": True},
    }
    rows = [Row("a", facts=facts), Row("b", facts={"status": "failed", "output": "b; c"}, failed=True)]
    write_reports([tmp_path / "r.csv"], Report(rows))
    assert [row.facts for row in read_report(tmp_path / "r.csv").rows] == [row.facts for row in rows]


@pytest.mark.parametrize(
    "output",
    [
        ["a; b.voice.wav", "a; b.noise.wav"],
        ["a;.wav", "; b.wav"],
        ["a\\; b.wav", "C:\\out\\b.wav"],
        "a.wav; b.wav",
        "a; b",
        "a;b.wav",
    ],
)
def test_names_in_a_csv_may_hold_what_stands_between_two(tmp_path: Path, output: list[str] | str) -> None:
    facts = {"status": "done", "input": "a; b.wav", "output": output, "settings": {"x": "1; y=2", "mix": 1}}
    scored = Row("a", {"pesq": Value(None, "silent; quiet: yes")}, {}, facts)
    write_reports([tmp_path / "r.csv"], Report([scored]))
    [found] = read_report(tmp_path / "r.csv").rows
    assert (found.facts, found.reasons) == (facts, {"pesq": "silent; quiet: yes"})


def test_names_in_a_csv_are_no_formulas_and_come_back(tmp_path: Path) -> None:
    name = '=HYPERLINK("http://localhost";"click").wav'
    outputs = ["-cmd.voice.wav", "@SUM(A1).noise.wav"]
    facts = {"status": "done", "output": outputs, "model": "+1", "peak": -1.5, "@column": "a"}
    scored = Row(name, {"pesq": Value(-0.5)}, {}, facts, ["=a note"])
    write_reports([tmp_path / "r.csv"], Report([scored, Row("'=b.wav", {}, {}, {}, [])]))
    with (tmp_path / "r.csv").open(newline="") as file:
        cells = [cell for line in csv.reader(file) for cell in line]
    assert [cell for cell in cells if cell.startswith(("=", "+", "-", "@"))] == ["-0.5", "-1.5"]
    first, second = read_report(tmp_path / "r.csv").rows
    assert (first.name, first.facts, first.notes) == (name, facts, ["=a note"])
    assert first.values["pesq"].value == -0.5
    assert second.name == "'=b.wav"


@pytest.mark.parametrize("name", ["x\ry.wav", "\rx.wav", "x\r\ny.wav", "x\ny.wav", '"x",\r.wav', "x.wav\r"])
def test_line_breaks_in_names_stay_in_their_cell(tmp_path: Path, name: str) -> None:
    rows = [
        Row(name, facts={"status": "done", "input": name}, notes=["a"], curves={"pesq": Curve(1.0, (2.0,))}),
        Row("b", facts={"status": "done"}),
    ]
    write_reports([tmp_path / "r.csv"], Report(rows))
    found, other = read_report(tmp_path / "r.csv").rows
    assert (found.name, found.facts, found.notes, other.name) == (name, rows[0].facts, ["a"], "b")
    assert [len(line) for line in csv.reader(io.StringIO(curves_to_csv(rows), newline=""))] == [3, 3]


def test_a_csv_is_shown(tmp_path: Path) -> None:
    source, _ = written(tmp_path, "csv")
    out = [tmp_path / f"page{ending}" for ending in FORMATS]
    words = [word for path in out for word in ("-o", str(path))]
    result = run_command("report", "show", source, *words, "--report-audio", "none")
    assert result.exit_code == 0, result.output
    assert "b, c.wav" in (tmp_path / "page.html").read_text()
    assert json.loads((tmp_path / "page.json").read_text())["command"] == "report show"


def test_invalid_reports_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    short_line = "file,reasons,notes\nx\nmean,,\nnull,,\n"
    for text in ("", "a,b\n1,2\n", "file,reasons\nx,\n", short_line, "file,pesq\nx,1\n"):
        path.write_text(text)
        with pytest.raises(InputError, match=r"no report of audiotool"):
            read_csv(path)
    with pytest.raises(InputError, match="cannot read"):
        read_csv(tmp_path / "none.csv")
    with pytest.raises(InputError, match=r"from \.json or \.csv"):
        check_readable(tmp_path / "report.md")
    result = run_command("report", "merge", tmp_path / "page.html", "-o", "all.csv")
    assert result.exit_code == 2
    assert not Path("all.csv").exists()
