"""Inputs and outputs in object stores: in memory, and in a server that speaks S3 on this machine."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from kit.audio import write_speech
from kit.disk import largest_file
from kit.patience import PATIENCE
from kit.scripted import Scripted

from audiotool import extras
from audiotool.audio import remote
from audiotool.audio.target import Target
from audiotool.batch.job import Job
from audiotool.batch.listing import Entry
from audiotool.batch.plan import Layout, make_plan
from audiotool.batch.pool import Pool
from audiotool.batch.run import run
from audiotool.batch.scratch import scratch_folder
from audiotool.batch.staging import staged
from audiotool.batch.watch import SilentWatcher
from audiotool.batch.work import Outcome, Work
from audiotool.errors import DependencyError, InputError, PlanError
from audiotool.files.kinds import Outputs
from audiotool.tasks.base import Scoring
from audiotool.tasks.inference import Inference

WORK = Work(Inference("denoise", "denoise-tiny-16k"))
fsspec = pytest.importorskip("fsspec", reason=extras.install("remote"))


@pytest.fixture
def recordings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two recordings in a tree, and something else."""
    monkeypatch.chdir(tmp_path)
    write_speech(Path("in/a.wav"), 0.5)
    write_speech(Path("in/sub/b.flac"), 0.6)
    write_speech(Path("in/.hidden.wav"), 0.1)
    Path("in/notes.txt").write_text("not audio")
    return Path("in")


@pytest.fixture
def store(recordings: Path) -> Iterator[str]:
    """The same in memory."""
    url = f"memory://{uuid.uuid4().hex}"
    memory = fsspec.filesystem("memory")
    memory.put(str(recordings), f"{url}/in", recursive=True)
    yield url
    memory.rm(url, recursive=True)


def outputs(outcomes: list[Outcome]) -> list[str]:
    assert [(o.status, o.error) for o in outcomes] == [("done", None)] * len(outcomes)
    return sorted(place for o in outcomes for place in o.job.target.places)


def content(url: str) -> bytes:
    with fsspec.open(url) as file:
        return bytes(file.read())


def local_bytes(recordings: Path) -> dict[str, bytes]:
    list(run(make_plan([str(recordings)], Layout(output="here")), WORK))
    return {name: Path("here", name).read_bytes() for name in ("a.wav", "sub/b.flac")}


def test_a_folder_of_a_store_is_mirrored_into_a_store(recordings: Path, store: str) -> None:
    expected = local_bytes(recordings)
    done = list(run(make_plan([f"{store}/in"], Layout(output=f"{store}/out/")), WORK))
    assert outputs(done) == [f"{store}/out/a.wav", f"{store}/out/sub/b.flac"]
    assert {name: content(f"{store}/out/{name}") for name in expected} == expected
    assert done[0].row.facts["output"] == done[0].job.target.places[0]


def test_stores_and_files_go_together(recordings: Path, store: str) -> None:
    expected = local_bytes(recordings)
    list(run(make_plan([f"{store}/in/a.wav"], Layout(output="one.wav")), WORK))
    assert Path("one.wav").read_bytes() == expected["a.wav"]
    list(run(make_plan(["in/a.wav"], Layout(output=f"{store}/named.wav")), WORK))
    assert content(f"{store}/named.wav") == expected["a.wav"]
    beside = make_plan([f"{store}/in/sub/b.flac"], Layout(outputs=Outputs("denoised")))
    assert outputs(list(run(beside, WORK))) == [f"{store}/in/sub/b_denoised.flac"]
    entries = [Entry(f"{store}/in/a.wav", f"{store}/x.wav"), Entry(f"{store}/in/sub/b.flac")]
    listed = make_plan([], Layout(output=f"{store}/all", listed=entries))
    below = store.removeprefix("memory://")
    assert outputs(list(run(listed, WORK))) == [f"{store}/all/{below}/in/sub/b.flac", f"{store}/x.wav"]


def test_keys_lead_out_of_no_folder_on_windows(recordings: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """There a key may hold what separates folders, names a drive or a device."""
    memory = fsspec.filesystem("memory")
    bucket = f"memory://{uuid.uuid4().hex}"
    keys = {
        r"C:\Users\me\a.wav": "C%3A%5CUsers%5Cme%5Ca.wav",
        r"a\..\..\b.wav": "a%5C..%5C..%5Cb.wav",
        ".. /c.wav": None,  # hidden, as all names with a dot in front
        "d. /e..wav": "d.%20/e..wav",
        "C:/nul.wav": "C%3A/%6Eul.wav",
        "2026-01-01T10:00.wav": "2026-01-01T10%3A00.wav",
    }
    try:
        for key in keys:
            memory.pipe_file(f"{bucket}/{key}", Path("in/a.wav").read_bytes())
        monkeypatch.setattr(sys, "platform", "win32")
        plan = make_plan([bucket], Layout(output="out"))
        named = sorted(f"out/{name}" for name in keys.values() if name)
        assert sorted(path.as_posix() for job in plan.jobs for path in job.target.paths) == named
        there = make_plan([bucket], Layout(output=f"{bucket}/out"))
        assert f"{bucket}/out/2026-01-01T10:00.wav" in [p for job in there.jobs for p in job.target.places]
        listed = [Entry(f"{bucket}/{key}") for key in keys]
        [hostile, *_] = make_plan([], Layout(output="out", listed=listed)).jobs
        below = bucket.removeprefix("memory://")
        assert [path.as_posix() for path in hostile.target.paths] == [
            f"out/{below}/C%3A%5CUsers%5Cme%5Ca.wav"
        ]
        with staged(hostile) as local:
            assert Path(local.source).name == "C%3A%5CUsers%5Cme%5Ca.wav"
    finally:
        memory.rm(bucket, recursive=True)


def test_a_store_is_asked_for_no_times_where_no_output_is_there(
    store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    monkeypatch.setattr(remote, "modified", asked.append)
    plan = make_plan([f"{store}/in"], Layout(output=f"{store}/out", existing="skip"))
    assert len(outputs(list(run(plan, WORK)))) == 2
    assert not asked


def test_outputs_that_are_there_are_refused_or_skipped(store: str) -> None:
    layout = Layout(output=f"{store}/out", existing="skip")
    assert len(outputs(list(run(make_plan([f"{store}/in/a.wav", f"{store}/in/sub"], layout), WORK)))) == 2
    second = make_plan([f"{store}/in/a.wav", f"{store}/in/sub"], layout)
    assert (len(second.jobs), len(second.skipped)) == (0, 2)
    with pytest.raises(PlanError, match="exist already"):
        make_plan([f"{store}/in/a.wav", f"{store}/in/sub"], Layout(output=f"{store}/out"))
    with pytest.raises(PlanError, match="replace its own input"):
        make_plan([f"{store}/in/a.wav"], Layout(output=f"{store}/in/a.wav", existing="overwrite"))


def test_inputs_that_changed_are_done_again_where_stores_have_times(recordings: Path, store: str) -> None:
    memory = fsspec.filesystem("memory")
    os.utime("in/a.wav", (1e9, 1e9))
    for name in ("a.wav", "sub/b.flac"):
        memory.pipe_file(f"{store}/out/{name}", b"done")
        write_speech(Path("out", name), 0.1)
    places = [(f"{store}/in", f"{store}/out"), (f"{store}/in", "out"), ("in", f"{store}/out")]

    def left() -> list[list[str]]:
        plans = [make_plan([source], Layout(output=out, existing="skip")) for source, out in places]
        assert [len(plan.jobs) + len(plan.skipped) for plan in plans] == [2, 2, 2]
        return [[Path(job.name).name for job in plan.jobs] for plan in plans]

    assert left() == [[], [], []]
    memory.pipe_file(f"{store}/in/a.wav", b"changed")
    assert left() == [["a.wav"], ["a.wav"], []]
    os.utime("in/a.wav", (2e10, 2e10))
    assert left() == [["a.wav"], ["a.wav"], ["a.wav"]]


def test_a_key_that_reads_as_two_addresses_costs_only_itself(recordings: Path, store: str) -> None:
    secret = write_speech(Path("secret.wav"), 0.1)
    memory = fsspec.filesystem("memory")
    memory.pipe_file(f"{store}/in/at 10::30.wav", secret.read_bytes())
    chained = f"{store}/in/x::file://{secret.resolve()}"
    entries = [
        Entry(f"{store}/in/at 10::30.wav"),
        Entry(chained),
        Entry(f"{store}/in/a.wav", f"{store}/y::{store}/y.wav"),
    ]
    for existing in ("refuse", "skip"):
        plan = make_plan([], Layout(output=f"{store}/out{existing}", listed=entries, existing=existing))
        outcomes = list(run(plan, WORK))
        assert sorted(o.status for o in outcomes) == ["done", "failed", "failed"]
        assert all("'::'" in str(o.error) for o in outcomes if o.status == "failed")
        [good] = (o for o in outcomes if o.status == "done")
        assert good.job.target.places[0].endswith("/at 10::30.wav")
        assert remote.exists(good.job.target.places[0])


def test_a_web_address_takes_no_outputs(recordings: Path) -> None:
    for output in ("http://host/out", "HTTPS://jane:hunter2@host/out?token=1"):
        with pytest.raises(PlanError, match=r"^cannot write \w+://host/\S+: a web address takes no"):
            make_plan(["in"], Layout(output=output))
    with pytest.raises(PlanError, match="a web address takes no outputs"):
        make_plan(["in"], Layout(output="out", residual="https://host/rest"))


def test_a_folder_of_the_web_in_a_list_costs_only_itself(recordings: Path) -> None:
    entries = [
        Entry(place, line=n) for n, place in enumerate(("http://host/", "..", "/", "in/a.wav"), start=1)
    ]
    plan = make_plan([], Layout(output="out", listed=entries))
    assert [job.obstacle for job in plan.jobs] == [
        "",
        ": line 1: http://host/: folders of the web are not read; name a recording",
        ": line 2: .. names no file",
        ": line 3: / names no file",
    ]


@pytest.mark.parametrize("written", ["file://{}", "local://{}", "file://{}/.", "file://in/../{}/"])
def test_originals_and_references_are_kept_however_they_are_written(recordings: Path, written: str) -> None:
    """A folder is one place as a path, and as a URL of this machine."""
    start = os.curdir if "../" in written else os.getcwd()
    url = written.format(os.path.normpath(os.path.join(start, "in")))
    for inputs, output in ((url, "in"), ("in", url), (url, url)):
        with pytest.raises(PlanError, match="would replace its own input"):
            make_plan([inputs], Layout(output=output, existing="overwrite"))
    with pytest.raises(PlanError, match="would replace its own input"):
        make_plan(["in"], Layout(output="out", residual=url, existing="overwrite"))
    entry = Entry(f"{url.rstrip('/')}/a.wav", "in/a.wav")
    with pytest.raises(PlanError, match="would replace its own input"):
        make_plan([], Layout(listed=[entry], existing="overwrite"))
    write_speech(Path("noisy/a.wav"), 0.5)
    with pytest.raises(PlanError, match="would replace its own input"):
        make_plan(["noisy"], Layout(output=url, reference="in", existing="overwrite"))


def test_a_long_key_is_staged_under_a_short_name(recordings: Path, store: str) -> None:
    """Keys have up to 1,024 bytes, names of files 255."""
    long = "é" * 260
    fsspec.filesystem("memory").pipe_file(f"{store}/in/{long}.wav", Path("in/a.wav").read_bytes())
    done = list(run(make_plan([f"{store}/in/{long}.wav"], Layout(output=f"{store}/out/")), WORK))
    assert outputs(done) == [f"{store}/out/{long}.wav"]


def test_protocols_of_one_store_are_one_place(store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("audiotool.audio.remote.is_missing", lambda bucket: False)  # needs a network
    for one, other in (("s3", "s3a"), ("gs", "gcs"), ("az", "abfss")):
        entry = Entry(f"{one}://bucket/in/a.wav", f"{other}://bucket/in/a.wav")
        with pytest.raises(PlanError, match="would replace its own input"):
            make_plan([], Layout(listed=[entry], existing="overwrite"))
    for other in ("sftp://host/in/./a.wav", "ssh://host//in/x/../a.wav", "sftp://host/../in/a.wav"):
        with pytest.raises(PlanError, match="would replace its own input"):
            make_plan([], Layout(listed=[Entry("sftp://host/in/a.wav", other)], existing="overwrite"))
    listed = [
        Entry("s3://bucket/a.wav", "s3://bucket/A.wav"),
        Entry("s3://bucket/b//a.wav", "gs://bucket/a.wav"),
    ]
    assert len(make_plan([], Layout(listed=listed, existing="overwrite")).jobs) == 2


def test_containers_of_azure_are_folders_of_their_own() -> None:
    """A container stands where other URLs have a user."""
    urls = [f"abfss://{container}@acme.dfs.core.windows.net/a.wav" for container in ("one", "two")]
    plan = make_plan([], Layout(output="out", listed=list(map(Entry, urls))))
    assert [job.name for job in plan.jobs] == urls
    assert [job.target.places for job in plan.jobs] == [
        [f"out/{container}@acme.dfs.core.windows.net/a.wav"] for container in ("one", "two")
    ]


def test_the_ending_of_an_output_in_a_store_is_named_without_credentials(recordings: Path) -> None:
    with pytest.raises(PlanError, match=r"^a\.mp3 is named as another format") as raised:
        make_plan(["in/a.wav"], Layout(output="s3://key:hunter2@bucket/a.mp3", format="flac"))
    assert "hunter2" not in str(raised.value)


def test_an_input_with_its_reference_in_two_spellings_is_one_job(recordings: Path) -> None:
    entries = [Entry("in/a.wav", "out.wav", reference) for reference in ("in/a.wav", "./in/../in/a.wav")]
    assert len(make_plan([], Layout(listed=entries)).jobs) == 1


def test_a_url_of_this_machine_is_as_a_path(recordings: Path) -> None:
    """So it is done again where it changed, and written completely or not at all."""
    earlier = write_speech(Path("out/a.wav"), 0.1).read_bytes()
    here = f"file://{Path.cwd()}"
    layout = Layout(output=f"{here}/out/a.wav", existing="overwrite")
    plan = make_plan([f"{here}/in/a.wav"], layout)
    assert (
        plan.jobs
        == make_plan([f"{Path.cwd()}/in/a.wav"], replace(layout, output=f"{Path.cwd()}/out/a.wav")).jobs
    )
    with largest_file(5000):
        [failed] = run(plan, WORK)
    assert failed.error is not None
    assert "out/a.wav: the file is larger" in failed.error
    assert [path.read_bytes() for path in Path("out").iterdir()] == [earlier]
    [done] = run(plan, WORK)
    assert done.status == "done"
    assert Path("out/a.wav").read_bytes() == local_bytes(recordings)["a.wav"]


@pytest.mark.parametrize("kind", ["store", "file"])
@pytest.mark.parametrize("output", [None, "in/cleaned", "in"])
def test_outputs_below_or_beside_their_inputs_are_no_inputs(
    store: str, kind: str, output: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    base = store if kind == "store" else f"file://{Path.cwd()}"
    suffix = "_x" if output == "in" else ""
    place = None if output is None else f"{base}/{output}"
    layout = Layout(output=place, suffix=suffix, existing="skip", outputs=Outputs("denoised"))
    assert len(outputs(list(run(make_plan([f"{base}/in"], layout), WORK)))) == 2
    again = make_plan([f"{base}/in"], layout)
    assert (len(again.jobs), len(again.skipped)) == (0, 2)
    assert ("left out, as outputs of other inputs" in caplog.text) == (output != "in/cleaned")


def test_keys_whose_outputs_have_one_name_are_named(recordings: Path, store: str) -> None:
    memory = fsspec.filesystem("memory")
    root = f"/{store.removeprefix('memory://')}/in"
    memory.store[f"{root}//a.wav"] = memory.store[f"{root}/a.wav"]
    with pytest.raises(PlanError, match=rf"outputs of one name: {store}/in//a.wav and {store}/in/a.wav"):
        make_plan([f"{store}/in"], Layout(output="out"))
    [done] = run(make_plan([f"{store}/in//a.wav"], Layout(output="out/")), WORK)
    assert outputs([done]) == ["out/a.wav"]
    memory.store.pop(f"{root}/a.wav")
    done, _ = run(make_plan([f"{store}/in"], Layout(outputs=Outputs("denoised"))), WORK)
    assert outputs([done]) == [f"{store}/in//a_denoised.wav"]
    memory.store.pop(f"{root}//a.wav")
    memory.store.pop(f"{root}//a_denoised.wav")


class Growing(SilentWatcher):
    """A watcher in whose run a recording changes when its first samples have been processed."""

    def __init__(self, path: Path) -> None:
        self.path: Path | None = path

    def advanced(self, job: Job, done: int, total: int | None) -> None:
        if self.path is not None:
            write_speech(self.path, 0.7)
        self.path = None


def test_the_output_of_an_input_that_changed_is_not_sent(recordings: Path, store: str) -> None:
    layout = Layout(output=f"{store}/out", existing="skip")
    [first] = run(make_plan(["in/a.wav"], layout), WORK, watcher=Growing(Path("in/a.wav")))
    assert first.error is not None
    assert "in/a.wav changed while it was read" in first.error
    assert "nothing is sent" in first.error
    assert outputs(list(run(make_plan(["in/a.wav"], layout), WORK))) == [f"{store}/out/a.wav"]


def test_a_remote_input_is_scored(recordings: Path, store: str) -> None:
    plan = make_plan([f"{store}/in/a.wav"], Layout(output="out.wav", reference="in/a.wav"))
    (outcome,) = run(plan, Work(WORK.processor, Scoring(("si_sdr",), best="si_sdr")))
    assert outcome.row.values["si_sdr"].value is not None


def test_errors_have_the_url(store: str, tmp_path: Path) -> None:
    with pytest.raises(PlanError, match=f"no recordings in {store}/empty"):
        make_plan([f"{store}/empty"], Layout(output="out"))
    with pytest.raises(PlanError, match="Protocol not known"):
        make_plan(["nothing://bucket/a.wav"], Layout(output="out"))
    with pytest.raises(PlanError, match="one URL, without a second one"):
        make_plan([f"simplecache://x::{store}"], Layout(output="out"))
    with fsspec.open(f"{store}/damaged.wav", "wb") as file:
        file.write(b"not audio")
    entries = [Entry(f"{store}/damaged.wav"), Entry(f"{store}/gone.wav"), Entry(f"{store}/in/a.wav")]
    damaged, gone, good = run(make_plan([], Layout(output="out", listed=entries)), WORK)
    assert damaged.error is not None
    assert f"{store}/damaged.wav" in damaged.error
    assert str(tmp_path.parent) not in damaged.error
    assert gone.error == f"{store}/gone.wav: there is no such object"
    assert good.status == "done"


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of temporary files."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr("tempfile.tempdir", None)
    return folder


def test_no_room_for_temporary_files_is_not_said_of_the_store(
    recordings: Path, store: str, temporary: Path
) -> None:
    size = Path("in/sub/b.flac").stat().st_size
    plan = make_plan([f"{store}/in/sub/b.flac"], Layout(output=f"{store}/out/", format="wav"))
    for limit, place in ((size - 1, f"{store}/in/sub/b.flac"), (size + 1, f"{store}/out/b.wav")):
        with largest_file(limit):
            [outcome] = run(plan, WORK)
        assert str(outcome.error).startswith(f"{place} is put aside in {temporary}, and there the file is ")
        assert str(outcome.error).endswith(": set TMPDIR to another folder")
    assert not list(temporary.iterdir())


def test_what_a_killed_worker_has_fetched_is_removed(tmp_path: Path, temporary: Path) -> None:
    scripted = Scripted(tmp_path)
    local = scripted.jobs("after 1 die", "after 0 wait")
    jobs = [
        job._replace(source=f"file://{job.source}", target=Target((f"file://{tmp_path}/out/{job.name}.out",)))
        for job in local
    ]
    left = []
    for outcome in Pool(Work(scripted), 2, SilentWatcher()).run(jobs):
        left.append((outcome.status, len(list(temporary.glob("audiotool-*")))))
        scripted.go.touch()
    assert left == [("failed", 1), ("done", 0)], "the other worker keeps its own"


def test_what_a_killed_process_has_fetched_is_removed_by_the_next(temporary: Path) -> None:
    """One that lives keeps its own."""
    program = (
        "import signal\nfrom audiotool.batch.scratch import scratch_folder\n"
        "with scratch_folder() as folder:\n"
        "    (folder / 'a.wav').touch()\n    print(folder, flush=True)\n    signal.pause()"
    )
    command = [sys.executable, "-c", program]
    found: list[Path] = []
    processes = []
    for _ in range(2):
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        processes.append(process)
        assert process.stdout is not None
        found.append(Path(process.stdout.readline().strip()))
    try:
        processes[0].kill()
        processes[0].wait(PATIENCE)
        assert [folder.parent for folder in found] == [temporary] * 2
        with scratch_folder() as own:
            assert sorted(temporary.iterdir()) == sorted([found[1], own])
            assert (found[1] / "a.wav").is_file()
        assert list(temporary.iterdir()) == [found[1]]
    finally:
        for process in processes:
            process.kill()
            process.communicate()


def test_without_fsspec_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extras, "is_there", lambda module: module != "fsspec")
    with pytest.raises(DependencyError, match=r"needs fsspec.*\[remote\]"):
        remote.exists("memory://a/b.wav")


def test_without_aiohttp_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("aiohttp", "fsspec.implementations.http"):
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.delitem(sys.modules["fsspec.registry"].__dict__["_registry"], "https", raising=False)
    with pytest.raises(DependencyError, match=r'"aiohttp" to be installed; `.*\[remote\]'):
        remote.exists("https://127.0.0.1:9/a.wav")


def test_s3(recordings: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The protocol spoken for real; the server listens on loopback."""
    pytest.importorskip("s3fs", reason=extras.install("remote"))
    server = pytest.importorskip("moto.server").ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    for name, value in {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    try:
        s3 = fsspec.filesystem("s3", skip_instance_cache=True, endpoint_url=os.environ["AWS_ENDPOINT_URL"])
        s3.mkdir("recordings")
        s3.put(str(recordings), "recordings/in", recursive=True)
        expected = local_bytes(recordings)
        done = list(run(make_plan(["s3://recordings/in"], Layout(output="s3://recordings/out")), WORK))
        assert outputs(done) == ["s3://recordings/out/a.wav", "s3://recordings/out/sub/b.flac"]
        assert {name: s3.cat_file(f"recordings/out/{name}") for name in expected} == expected
        with pytest.raises(InputError, match="s3://nowhere/a"):
            remote.fetch("s3://nowhere/a", Path("a"))
    finally:
        server.stop()
