"""Batches on a Ray cluster of two nodes on this machine: the same bytes as here, whatever dies meanwhile."""

from __future__ import annotations

import contextlib
import importlib
import itertools
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import pytest
from kit.audio import write_endless, write_speech
from kit.patience import PATIENCE, wait_until
from kit.ports import free_port

from audiotool import extras, named_checkpoints
from audiotool.batch.cluster import Cluster
from audiotool.batch.job import Job
from audiotool.batch.listing import Entry
from audiotool.batch.plan import Layout, make_plan
from audiotool.batch.run import run
from audiotool.batch.watch import SilentWatcher
from audiotool.batch.work import Outcome, Work
from audiotool.errors import AudiotoolError, CheckpointError, DependencyError, PlanError
from audiotool.signals import HANG_UP, REQUESTS, EndRequest, unwind_on_request
from audiotool.tasks.inference import Inference

needs_ray = pytest.mark.skipif(not extras.is_there("ray"), reason=extras.install("cluster"))
WORK = Work(Inference("denoise", "denoise-tiny-16k"))
CLIENT_SECONDS = ("RAY_CLIENT_INITIAL_CONNECTION_TIMEOUT_S", "RAY_CLIENT_MAX_CONNECTION_TIMEOUT_S")
"""Variables of the environment: for how long Ray's client waits for its server."""


@pytest.fixture(scope="module")
def nodes() -> Iterator[Any]:
    """A cluster of two raylets with a core each."""
    utilities: Any = importlib.import_module("ray.cluster_utils")
    cluster = utilities.Cluster()
    add_node(cluster, include_dashboard=False)
    add_node(cluster)
    yield cluster
    cluster.shutdown()


def add_node(cluster: Any, **options: Any) -> None:
    """Start a raylet, and wait until it is there: Ray itself would wait for half a minute."""
    cluster.add_node(wait=False, num_cpus=1, object_store_memory=80 << 20, **options)
    cluster.wait_for_nodes(PATIENCE)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Twelve recordings, no two alike, from whose parent the test runs: paths are relative."""
    monkeypatch.chdir(tmp_path)
    for n in range(12):
        write_speech(Path("in") / f"{n:02d}.wav", 1.0 + n / 8)
    return tmp_path


def contents(folder: str) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in Path(folder).rglob("*") if path.is_file()}


def processed_here(folder: Path) -> dict[str, bytes]:
    assert all(o.status == "done" for o in run(make_plan(["in"], Layout(output="here")), WORK))
    return contents("here")


def workers(nodes: Any) -> list[int]:
    """Processes of the actors that the cluster's raylets started."""
    raylets = [node.all_processes["raylet"][0].process.pid for node in nodes.list_all_nodes()]
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((place / "stat").read_text().rpartition(")")[2].split()[1])
            if parent in raylets and b"Actor" in (place / "cmdline").read_bytes():
                found.append(int(place.name))
        except (OSError, ValueError):
            continue
    return found


class Killer(SilentWatcher):
    """Kills something whenever a job has ended, at most so many times."""

    def __init__(self, kill: Any, times: int) -> None:
        self.kill = kill
        self.times = times

    def finished(self, outcome: Outcome) -> None:
        if self.times:
            self.times -= self.kill()


@needs_ray
def test_a_cluster_makes_the_same_bytes(folder: Path, nodes: Any) -> None:
    expected = processed_here(folder)
    seen: list[str] = []

    class Watch(SilentWatcher):
        def started(self, job: Job) -> None:
            seen.append(job.name)

    outcomes = list(run(make_plan(["in"], Layout(output="out")), WORK, None, Watch(), nodes.address))
    assert [o.status for o in outcomes] == ["done"] * 12
    assert sorted(seen) == sorted(o.job.name for o in outcomes) == sorted(expected)
    assert contents("out") == expected


@needs_ray
def test_killed_workers_and_nodes_lose_nothing(folder: Path, nodes: Any) -> None:
    expected = processed_here(folder)

    def kill_worker() -> int:
        found = workers(nodes)
        for pid in found[:1]:
            os.kill(pid, signal.SIGKILL)
        return len(found[:1])

    killer = Killer(kill_worker, 2)
    outcomes = list(run(make_plan(["in"], Layout(output="out")), WORK, 2, killer, nodes.address))
    assert killer.times == 0
    assert [o.status for o in outcomes] == ["done"] * 12
    assert contents("out") == expected

    def kill_node() -> int:
        nodes.remove_node(nodes.list_all_nodes()[-1], allow_graceful=False)
        return 1

    killer = Killer(kill_node, 1)
    plan = make_plan(["in"], Layout(output="again"))
    outcomes = list(run(plan, WORK, 2, killer, nodes.address))
    assert killer.times == 0
    assert [o.status for o in outcomes] == ["done"] * 12
    assert contents("again") == expected
    add_node(nodes)


@needs_ray
def test_files_that_a_worker_does_not_see_are_reported(folder: Path, nodes: Any) -> None:
    plan = make_plan([], Layout(output="out", listed=[Entry("in/00.wav"), Entry("in/gone.wav")]))
    done, gone = sorted(run(plan, WORK, cluster=nodes.address), key=lambda o: o.status)
    assert (done.status, gone.status) == ("done", "failed")
    assert gone.error is not None
    assert f"in/gone.wav is not there on {socket.gethostname()}" in gone.error


@needs_ray
def test_a_model_that_cannot_be_loaded_ends_the_batch(folder: Path, nodes: Any) -> None:
    Path("damaged.safetensors").write_bytes(b"x")
    work = Work(Inference("denoise", "damaged.safetensors"))
    with pytest.raises(CheckpointError, match="damaged"):
        list(run(make_plan(["in"], Layout(output="out")), work, cluster=nodes.address))
    assert not list(Path("out").rglob("*.wav"))


@needs_ray
def test_object_stores_on_a_cluster(folder: Path, nodes: Any) -> None:
    """file:// is a store that every process here sees."""
    expected = processed_here(folder)
    plan = make_plan([f"file://{folder}/in"], Layout(output=f"file://{folder}/out"))
    assert all(o.status == "done" for o in run(plan, WORK, cluster=nodes.address))
    assert contents("out") == expected


@needs_ray
def test_an_output_that_cannot_be_written_costs_its_job_alone(folder: Path, nodes: Any) -> None:
    plan = make_plan([], Layout(listed=[Entry("in/00.wav", "out/a.wav"), Entry("in/01.wav", "late/b.wav")]))
    Path("late").write_text("a file where the folder was to be")
    outcomes = {o.job.name: o for o in run(plan, WORK, cluster=nodes.address)}
    assert outcomes["in/00.wav"].status == "done"
    assert outcomes["in/01.wav"].error is not None
    assert "cannot write late/b.wav" in outcomes["in/01.wav"].error


@needs_ray
def test_the_address_of_a_client_server(folder: Path, nodes: Any) -> None:
    """ray://HOST:PORT, which a machine outside of the cluster uses."""
    patient = {**os.environ, **dict.fromkeys(CLIENT_SECONDS, f"{PATIENCE:.0f}")}
    with free_port() as port:
        # One process, which forks none: the usual proxy forks while its threads are in gRPC, and some such
        # children die at once.
        command = ["-m", "ray.util.client.server", "--mode", "legacy", "--address", nodes.address]
        command += ["--host", "127.0.0.1", "--port", str(port)]
        client = subprocess.Popen([sys.executable, *command])

        def is_there() -> bool:
            assert client.poll() is None, "the client server has ended"
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                return True
            return False

        try:
            wait_until(is_there)
            words = ["-m", "audiotool", "denoise", "in", "-o", "out", "--cluster", f"ray://127.0.0.1:{port}"]
            done = subprocess.run(
                [sys.executable, *words], env=patient, capture_output=True, text=True, timeout=PATIENCE
            )
            assert done.returncode == 0, done.stderr
            assert len(contents("out")) == 12
        finally:
            client.terminate()
            client.wait(PATIENCE)


@needs_ray
def test_another_version_on_the_cluster_ends_the_batch(
    folder: Path, nodes: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("audiotool.batch.cluster.__version__", "99.0")
    with pytest.raises(AudiotoolError, match=r"has audiotool .*, and this one 99\.0"):
        list(run(make_plan(["in"], Layout(output="out")), WORK, cluster=nodes.address))
    assert not list(Path("out").rglob("*.wav"))


@needs_ray
def test_another_version_of_ray_is_one_line(
    folder: Path, nodes: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise RuntimeError("Traceback:\n  this and that\nVersion mismatch: Ray: 2.40.0, here 2.60.0\n")

    monkeypatch.setattr("ray.init", refuse)
    with pytest.raises(PlanError, match="cannot be used: Version mismatch") as raised:
        list(run(make_plan(["in"], Layout(output="out")), WORK, cluster=nodes.address))
    assert "\n" not in str(raised.value)


@needs_ray
def test_ctrl_c_leaves_finished_outputs_and_nothing_else(folder: Path, nodes: Any) -> None:
    write_endless(Path("in/99.wav"))
    command = [sys.executable, "-m", "audiotool", "denoise", "in", "-o", "out", "--cluster", "auto"]
    environment = {**os.environ, "RAY_ADDRESS": nodes.address}
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    process = subprocess.Popen(command, env=environment, start_new_session=True, **pipes)
    assert process.stderr is not None
    # Other lines may say that the cluster is slow.
    finished = (line for line in process.stderr if " -> out/" in line)
    lines = list(itertools.islice(finished, 3))
    wait_until(lambda: workers(nodes))
    os.kill(workers(nodes)[0], signal.SIGKILL)
    lines += itertools.islice(finished, 9)
    process.send_signal(signal.SIGINT)
    printed, rest = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130, rest
    assert printed == "", "standard output is a pipe's: Ray says nothing there"
    assert "interrupted" in rest
    assert len(lines) == len(contents("out")) == 12
    assert not list(Path("out").glob(".*"))


def test_invalid_addresses_and_those_without_an_answer(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ray", reason=extras.install("cluster"))
    monkeypatch.setattr("ray.init", lambda *_, **__: pytest.fail("Ray itself would try for minutes"))
    plan = make_plan(["in"], Layout(output="out"))
    with free_port() as free:
        for address in (f"127.0.0.1:{free}", f"ray://127.0.0.1:{free}"):
            with pytest.raises(PlanError, match="no Ray cluster answers at"):
                list(run(plan, WORK, cluster=address))
    for address in ("http://127.0.0.1:80", "head", "127.0.0.1:port"):
        with pytest.raises(PlanError, match="--cluster is auto, HOST:PORT"):
            list(run(plan, WORK, cluster=address))


def test_an_address_that_no_url_can_hold(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", ModuleType("ray"))
    monkeypatch.setattr("audiotool.batch.cluster.require", lambda package, what: None)
    with pytest.raises(PlanError, match="--cluster is auto, HOST:PORT"):
        list(run(make_plan(["in"], Layout(output="out")), WORK, cluster="[head:6379"))


def test_the_variable_of_an_address_is_named_and_may_be_empty(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise ConnectionError

    ray: Any = ModuleType("ray")
    ray.init = refuse
    monkeypatch.setitem(sys.modules, "ray", ray)
    monkeypatch.setattr("audiotool.batch.cluster.require", lambda package, what: None)
    plan = make_plan(["in"], Layout(output="out"))
    for address, said in (
        ("", "^no Ray cluster runs here"),
        ("head", "^RAY_ADDRESS is auto, HOST:PORT or .*, not 'head'"),
        ("127.0.0.1:1", r"^no Ray cluster answers at 127.0.0.1:1 \(RAY_ADDRESS\)"),
    ):
        monkeypatch.setenv("RAY_ADDRESS", address)
        with pytest.raises(PlanError, match=said):
            list(run(plan, WORK, cluster="auto"))


class Interrupted:
    """A ray in whose first wait a request to end comes, of which it makes an exit as Ray does."""

    exceptions: Any = SimpleNamespace(RayError=RuntimeError, RayActorError=RuntimeError)

    def __init__(self, request: int) -> None:
        self.request = request
        self.is_down = False

    def cluster_resources(self) -> dict[str, float]:
        return {"CPU": 1.0}

    def remote(self, kind: type) -> Any:
        return MagicMock()

    def wait(self, references: list[Any], **_: Any) -> tuple[list[Any], list[Any]]:
        try:
            signal.raise_signal(self.request)
        except SystemExit:
            raise SystemExit(1) from None
        return [], references

    def kill(self, handle: Any) -> None:
        """Do nothing: there is no process."""

    def shutdown(self) -> None:
        self.is_down = True


@pytest.mark.parametrize("request_", [signal.SIGTERM, *HANG_UP])
def test_a_request_to_end_keeps_its_exit_code(
    folder: Path, monkeypatch: pytest.MonkeyPatch, request_: signal.Signals
) -> None:
    ray = Interrupted(request_)
    monkeypatch.setattr("audiotool.batch.cluster.require", lambda package, what: None)
    monkeypatch.setattr("audiotool.batch.cluster._connect", lambda address: ray)
    before = {number: signal.getsignal(number) for number in REQUESTS}
    unwind_on_request()
    try:
        with pytest.raises(EndRequest) as raised:
            list(run(make_plan(["in"], Layout(output="out")), WORK, cluster="auto"))
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    assert raised.value.code == 128 + request_
    assert ray.is_down


@pytest.mark.parametrize(
    ("processor", "gpus"),
    [
        (Inference("denoise"), None),
        (Inference("denoise", engine="onnx"), None),
        (Inference("denoise", device="cpu", engine="torch"), None),
        (Inference("denoise", device="cuda"), 0.25),
        (Inference("denoise", engine="torch"), 0.25),
        (Inference("denoise", "alone.safetensors"), 0.25),
        (Inference("denoise", "alone.safetensors", "cpu"), None),
    ],
)
def test_gpus_are_reserved_for_models_that_run_on_them(
    processor: Inference, gpus: float | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copy(named_checkpoints.resolve("denoise-tiny-16k"), "alone.safetensors")
    ray = SimpleNamespace(cluster_resources=lambda: {"CPU": 8.0, "GPU": 2.0}, remote=lambda actor: actor)
    monkeypatch.setattr("audiotool.batch.cluster._connect", lambda address: ray)
    monkeypatch.setattr("audiotool.batch.cluster.require", lambda package, what: None)
    cluster = Cluster("auto", Work(processor), 0, SilentWatcher())
    assert cluster._resources.get("num_gpus") == gpus


def test_a_pipe_goes_to_no_cluster() -> None:
    with pytest.raises(PlanError, match="a pipe goes to no cluster"):
        list(run(make_plan(["-"], Layout()), WORK, cluster="auto"))


def test_without_ray_the_extra_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(DependencyError, match=r"--cluster needs ray.*\[cluster\]"):
        list(run(make_plan(["in"], Layout(output="out")), WORK, cluster="auto"))
