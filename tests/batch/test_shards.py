"""Lists and shards: what schedulers give to many machines, planned alike on each and done once in all."""

from __future__ import annotations

import codecs
from pathlib import Path

import pytest
from kit.audio import write_speech
from kit.command import run_process

from audiotool.batch.listing import Entry, read_list
from audiotool.batch.plan import Layout, make_plan
from audiotool.batch.shards import Shard
from audiotool.errors import PlanError
from audiotool.files.kinds import Outputs


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Five recordings of different lengths, from whose parent the test runs."""
    monkeypatch.chdir(tmp_path)
    for n, seconds in enumerate((0.5, 0.1, 0.3, 0.2, 0.4)):
        write_speech(tmp_path / "in" / f"sub{n % 2}" / f"{n}.wav", seconds)
    return tmp_path / "in"


def listing(tmp_path: Path, data: str | bytes, name: str = "list.txt") -> str:
    path = tmp_path / name
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return str(path)


@pytest.mark.parametrize(
    "data",
    [
        "in/a.wav\nin/b c.wav\n",
        "in/a.wav\r\n\r\nin/b c.wav",
        "\ufeffin/a.wav\nin/b c.wav\n",
        "in/a.wav\0in/b c.wav\0",
        "input\nin/a.wav\nin/b c.wav\n",
        " Input ;output\r\nin/a.wav ;\r\n;\r\n in/b c.wav;\r\n",
        "input\toutput\n in/a.wav\t\nin/b c.wav\t\n".encode("utf-16"),
        "in/a.wav\r\nin/b c.wav\r\n".encode("utf-16"),
        codecs.BOM_UTF16_BE + "in/a.wav\nin/b c.wav".encode("utf-16-be"),
    ],
)
def test_a_list_has_a_path_a_line(tmp_path: Path, data: str | bytes) -> None:
    assert read_list(listing(tmp_path, data)) == [Entry("in/a.wav"), Entry("in/b c.wav")]


def test_spaces_belong_to_the_name_of_a_file_that_has_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("x.wav", "x.wav ", " clean.wav"):
        Path(name).touch()
    path = listing(
        tmp_path, b'input,output,reference\n"x.wav "," o.wav "," clean.wav"\ny.wav ,,"x.wav"\n', "a.csv"
    )
    assert read_list(path) == [Entry("x.wav ", "o.wav", " clean.wav"), Entry("y.wav", None, "x.wav")]


def test_a_csv_names_outputs_and_references(tmp_path: Path) -> None:
    comma = 'reference,Input,output\nclean/a.wav,"in/a, b.wav",x.flac\n,in/c.wav,\n'
    spaced = 'reference, "Input", output\nclean/a.wav, "in/a, b.wav", x.flac \n, in/c.wav ,\n'
    semicolon = '"reference";"Input";"output"\n"clean/a.wav";"in/a, b.wav";"x.flac"\n"";in/c.wav;\n'
    for data in (comma, spaced, semicolon):
        assert read_list(listing(tmp_path, data, "list.csv")) == [
            Entry("in/a, b.wav", "x.flac", "clean/a.wav"),
            Entry("in/c.wav"),
        ]


def test_names_that_are_not_utf_8_stay(tmp_path: Path) -> None:
    (entry,) = read_list(listing(tmp_path, b"caf\xe9.wav\n"))
    assert entry.input.encode(errors="surrogateescape") == b"caf\xe9.wav"


@pytest.mark.parametrize(
    ("data", "name", "said"),
    [
        ("\n \n", "list.txt", "lists nothing"),
        ("a.wav\n-\n", "list.txt", "cannot be listed"),
        ("a.wav\n", "list.csv", "first line of a CSV list names its columns"),
        ("output,reference\na.wav,b.wav\n", "list.txt", "the column input is missing; it has output, ref"),
        ("input,speaker\na.wav,1\n", "list.csv", "a list has the columns input, output, reference"),
        ("input,output\na.wav\n", "list.csv", "line 2 does not fit"),
        ('input\n"a.wav\n', "list.csv", "line 2 is no CSV"),
        ('input,"output\na.wav,b.wav\n', "list.csv", "line 2 is no CSV"),
        (codecs.BOM_UTF16_LE + b"a", "list.txt", "begins as UTF-16 and is none"),
    ],
)
def test_invalid_lists_are_refused(tmp_path: Path, data: str | bytes, name: str, said: str) -> None:
    with pytest.raises(PlanError, match=said):
        read_list(listing(tmp_path, data, name))
    with pytest.raises(PlanError, match="cannot read the list"):
        read_list(str(tmp_path))


def test_a_list_to_score_needs_outputs_alone(tmp_path: Path) -> None:
    path = listing(tmp_path, b"reference,output\nb.wav,a.wav\n,c.wav\n", "list.csv")
    assert read_list(path, required="output") == [Entry("", "a.wav", "b.wav"), Entry("", "c.wav")]
    path = listing(tmp_path, b"input,output\na.wav,\n", "list.csv")
    with pytest.raises(PlanError, match="line 2 has no output"):
        read_list(path, required="output")


def test_listed_files_keep_their_path_below_the_outputs(folder: Path, tmp_path: Path) -> None:
    absolute = str(folder / "sub1" / "1.wav")
    entries = [Entry("in/sub0/0.wav"), Entry(absolute), Entry("../x/a.flac"), Entry("in/sub0/../sub0/0.wav")]
    plan = make_plan([], Layout(output="out", listed=entries))
    found = [str(path) for job in plan.jobs for path in job.target.paths]
    # The last is the first again.
    assert found == ["out/in/sub0/0.wav", f"out{absolute}", "out/x/a.flac"]
    assert [job.name for job in plan.jobs] == ["in/sub0/0.wav", absolute, "../x/a.flac"]


def test_a_list_may_say_where_an_output_goes(folder: Path) -> None:
    entries = [Entry("in/sub0/0.wav", "a/b.flac"), Entry("in/sub1/1.wav")]
    plan = make_plan([], Layout(listed=entries, outputs=Outputs("denoised")))
    assert [str(p) for job in plan.jobs for p in job.target.paths] == ["a/b.flac", "in/sub1/1_denoised.wav"]
    with pytest.raises(PlanError, match="outputs of one name"):
        make_plan([], Layout(output="out", listed=[Entry("in/a.wav", "out/in/b.wav"), Entry("in/b.wav")]))
    with pytest.raises(PlanError, match="replace its own input"):
        make_plan([], Layout(listed=[Entry("in/sub0/0.wav", "in/sub0/2.wav"), Entry("in/sub0/2.wav")]))


def test_an_input_of_several_lines_has_an_output_of_each(folder: Path) -> None:
    one, two = Entry("in/sub0/0.wav", "x/one.wav", "a.wav"), Entry("in/sub0/0.wav", "x/two.flac", "b.wav")
    for name in ("a.wav", "b.wav"):
        write_speech(Path(name), 0.1)
    # The same line again, in another spelling, is no other job.
    again = Entry(str(folder / "sub0" / "0.wav"), "./x/one.wav", "a.wav")
    jobs = make_plan([], Layout(listed=[one, two, again])).jobs
    found = [([str(path) for path in job.target.paths], [str(p) for p in job.references]) for job in jobs]
    assert found == [(["x/one.wav"], ["a.wav"]), (["x/two.flac"], ["b.wav"])]
    with pytest.raises(PlanError, match="outputs of one name"):
        make_plan([], Layout(listed=[one, Entry("in/sub0/0.wav", "x/one.wav", "b.wav")]))


def test_listed_references_are_those_of_the_list_or_of_the_command(folder: Path) -> None:
    entries = [Entry("in/sub0/0.wav", None, "in/sub0/2.wav"), Entry("in/sub0/4.wav"), Entry("in/sub1/1.wav")]
    alone = make_plan([], Layout(output="out", listed=entries)).jobs
    assert [len(job.references) for job in alone] == [1, 0, 0]
    assert "no reference in its list" in alone[1].unscored
    Path("clean/in/sub0").mkdir(parents=True)
    write_speech(Path("clean/in/sub0/4.wav"), 0.1)
    both = make_plan([], Layout(output="out", reference="clean", listed=entries)).jobs
    assert [len(job.references) for job in both] == [1, 1, 0]
    with pytest.raises(PlanError, match="no such reference: nowhere"):
        make_plan([], Layout(output="out", listed=[Entry("in/sub0/0.wav", None, "nowhere.wav")]))


def test_shards_are_all_jobs_once_and_alike_in_size(folder: Path) -> None:
    whole = [job.name for job in make_plan(["in"], Layout(output="out")).jobs]
    shares = [
        [job.name for job in make_plan(["in"], Layout(output="out", shard=Shard(n, 3))).jobs]
        for n in (1, 2, 3)
    ]
    assert sorted(name for share in shares for name in share) == sorted(whole)
    # From the longest on in turns: 0.5 and 0.2 s, 0.4 and 0.1 s, 0.3 s.
    assert shares == [["sub0/0.wav", "sub1/3.wav"], ["sub0/4.wav", "sub1/1.wav"], ["sub0/2.wav"]]


def test_a_shard_does_not_depend_on_what_others_have_done(folder: Path) -> None:
    layout = Layout(output="out", shard=Shard(2, 3), existing="skip")
    before = make_plan(["in"], layout)
    for name in ("sub0/0.wav", "sub0/4.wav"):
        write_speech(Path("out") / name, 0.1)
    after = make_plan(["in"], layout)
    assert sorted(job.name for job in (*after.skipped, *after.jobs)) == [job.name for job in before.jobs]
    assert [job.name for job in after.skipped] == ["sub0/4.wav"]


@pytest.mark.parametrize("text", ["0/3", "4/3", "3", "a/b", "1/0", "-1/3", "1/3/5", "1e1/30", ""])
def test_invalid_shards_are_refused(text: str) -> None:
    with pytest.raises(PlanError, match="--shard is I/N"):
        Shard.parse(text)


def test_a_report_is_named_after_its_shard() -> None:
    shard = Shard.parse("3/64")
    assert shard.report(Path("a/report.csv")) == Path("a/report-0003-of-0064.csv")
    assert shard.report(Path("r{shard}.{shards}.json")) == Path("r0003.0064.json")
    assert shard.report(Path("of{shards}/{shard}/r.json")) == Path("of0064/0003/r.json")
    assert shard.report(Path("of{shards}/r.json")) == Path("of0064/r-0003-of-0064.json")


def test_three_machines_do_a_list(folder: Path) -> None:
    """Each as a process of its own; the shares' outputs and reports are there, a missing file fails alone."""
    names = "".join(f"in/sub{n % 2}/{n}.wav\n" for n in range(6))
    for n in (1, 2, 3):
        command = ["denoise", "--list", "-", "-o", "out", "--shard", f"{n}/3", "--report", "report.csv"]
        result = run_process(*command, input=names)
        # 5.wav, which there is none of, is the smallest.
        assert result.returncode == (1 if n == 3 else 0), result.stderr
        assert Path(f"report-000{n}-of-0003.csv").read_text().startswith("file,")
    assert "in/sub1/5.wav" in result.stderr
    assert sorted(p.name for p in Path("out").rglob("*.wav")) == [f"{n}.wav" for n in range(5)]


def test_a_list_and_the_pipe_exclude_each_other() -> None:
    with pytest.raises(PlanError, match="goes alone"):
        make_plan(["-"], Layout(listed=[Entry("a.wav")]))
    with pytest.raises(PlanError, match="goes alone"):
        make_plan(["-"], Layout(shard=Shard(1, 2)))
