"""The overhead of a batch on many machines: planning a list of a million files, a cluster beside local
workers.

    python scripts/benchmark_cluster.py plan --files 1000000
    python scripts/benchmark_cluster.py ray --files 400      # needs: pip install ".[cluster]"

The plan is of names that are made up. The cluster has two nodes with a core each on this machine; it does the
same files as `--jobs 2`, in turns, and every output is compared.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import os
import resource
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from plain_errors import run_script

from audiotool.batch.listing import read_list
from audiotool.batch.plan import Layout, make_plan
from audiotool.batch.run import run
from audiotool.batch.shards import Shard
from audiotool.batch.work import Work
from audiotool.tasks.inference import Inference

SAMPLE_RATE = 16000


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("what", choices=("plan", "ray"))
    parser.add_argument("--files", type=int, default=400)
    parser.add_argument("--seconds", type=float, default=5.0, help="of each file")
    parser.add_argument("--rounds", type=int, default=2, help="of the cluster and the local workers in turns")
    options = parser.parse_args(arguments)
    before = os.getcwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        try:
            if options.what == "plan":
                measure_plan(options.files)
            else:
                measure_ray(options.files, options.seconds, options.rounds)
        finally:
            os.chdir(before)


def measure_plan(files: int) -> None:
    """Print the CPU time and the memory of planning a list, whole and as one shard of 64."""
    lines = (f"/data/speech/speaker{n // 100:05d}/recording-{n:07d}.wav\n" for n in range(files))
    Path("list.txt").write_text("".join(lines))
    for shard in (Shard(3, 64), None):
        began = time.process_time()
        plan = make_plan([], Layout(output="/data/clean/", listed=read_list("list.txt"), shard=shard))
        spent = time.process_time() - began
        print(
            f"{'all' if shard is None else 'shard 3/64'}: {files} listed files, {len(plan.jobs)} jobs,"
            f" {spent:.1f} s of CPU, {spent / files * 1e6:.0f} us a file, peak memory {peak_mb():.0f} MB"
        )


def peak_mb() -> float:
    """The most memory that this process has had, in MB."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def measure_ray(files: int, seconds: float, rounds: int) -> None:
    """Print the throughput of a cluster of two nodes as a ratio to that of two local workers."""
    noise = np.random.default_rng(0).normal(0.0, 0.05, (files, round(seconds * SAMPLE_RATE)))
    Path("in").mkdir()
    for n, samples in enumerate(noise):
        soundfile.write(f"in/{n:05d}.wav", samples, SAMPLE_RATE)
    with two_nodes() as address:
        times: dict[str, list[float]] = {"jobs": [], "ray": []}
        handing_out = []
        for n in range(rounds):
            for name, cluster in (("jobs", None), ("ray", address)):
                began = time.process_time()
                times[name].append(process(f"{name}-{n}", cluster))
            handing_out.append(1000 * (time.process_time() - began) / files)
    for n in range(rounds):
        for made in Path(f"jobs-{n}").iterdir():
            assert made.read_bytes() == Path(f"ray-{n}", made.name).read_bytes(), made.name
    local, remote = min(times["jobs"]), min(times["ray"])
    print(f"{files} files of {seconds:g} s: --jobs 2 {local:.1f} s, cluster of two nodes {remote:.1f} s,")
    print(f"throughput of the cluster {local / remote:.2f} of the local one; all outputs identical")
    print(f"the process that hands out the cluster's jobs: {min(handing_out):.1f} ms of processor time a job")


def process(output: str, cluster: str | None) -> float:
    """Denoise all files with two workers; the wall time in seconds."""
    began = time.perf_counter()
    plan = make_plan(["in"], Layout(output=output))
    outcomes = list(run(plan, Work(Inference("denoise")), 2, cluster=cluster))
    assert all(outcome.status == "done" for outcome in outcomes)
    return time.perf_counter() - began


@contextlib.contextmanager
def two_nodes() -> Iterator[str]:
    """The address of a cluster of two raylets with a core each."""
    utilities: Any = importlib.import_module("ray.cluster_utils")
    settings = {"num_cpus": 1, "object_store_memory": 80 << 20}
    cluster = utilities.Cluster(initialize_head=True, head_node_args={**settings, "include_dashboard": False})
    cluster.add_node(**settings)
    try:
        yield cluster.address
    finally:
        cluster.shutdown()


if __name__ == "__main__":
    run_script(main)
