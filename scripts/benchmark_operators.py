"""Say where onnxruntime's time goes in a checkpoint's graph, operator by operator, on one core.

    python scripts/benchmark_operators.py [--checkpoint denoise-16k] [--streams 64]

Columns: one hop of one stream, one hop of many streams at once (per stream), a second of a file (per hop), in
microseconds, the least of all runs, by the runtime's own profile, which slows small operators down. Below:
the same without the profile, the rate of the model's arithmetic, and that of matrix products alone. What is
between them is the most that another arrangement of the graph could gain.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from plain_errors import run_script

from audiotool import named_checkpoints
from audiotool.engines.card import Card

if TYPE_CHECKING:
    import onnxruntime

Feed = dict[str, Any]


def session(graph: Path, profile: str | None = None) -> onnxruntime.InferenceSession:
    """As `OnnxEngine` runs it, with a profile where a file's prefix is given."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.enable_profiling = profile is not None
    options.profile_file_prefix = profile or ""
    return onnxruntime.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])


def feed(card: Card, streams: int, hops: int) -> Feed:
    """Noise, and states at their beginning."""
    shape = (streams, card.input_channels, hops * card.hop_length)
    noise = 0.1 * np.random.default_rng(0).standard_normal(shape)
    found: Feed = {"input": (noise if card.upsampling == 1 else 10 * noise - 5).astype(np.float32)}
    for state in card.states:
        values = state.values()
        shape = (streams, *values.shape[1:]) if state.by_row else values.shape
        found[state.name] = np.ascontiguousarray(np.broadcast_to(values, shape))
    return found


def run(engine: onnxruntime.InferenceSession, fed: Feed, runs: int) -> float:
    """Least CPU time of a run in microseconds; the states go on."""
    times = []
    for _ in range(runs):
        began = time.process_time()
        _, *states = engine.run(None, fed)
        times.append(1e6 * (time.process_time() - began))
        fed.update(zip(list(fed)[1:], states, strict=True))
    return min(times)


def operators(graph: Path, fed: Feed, runs: int) -> dict[str, float]:
    """Microseconds a run by operator: the least of each node, added up."""
    with tempfile.TemporaryDirectory() as folder:
        engine = session(graph, os.path.join(folder, "profile"))
        run(engine, fed, runs)
        nodes: dict[tuple[str, str], list[int]] = defaultdict(list)
        for operator, node, duration in kernel_times(engine):
            nodes[operator, node].append(duration)
    found: dict[str, float] = defaultdict(float)
    for (operator, _), durations in nodes.items():
        found[operator] += min(durations)
    return found


def kernel_times(engine: onnxruntime.InferenceSession) -> Iterator[tuple[str, str, int]]:
    """Operator, node and microseconds of every kernel that ran, from the session's profile, which ends."""
    for event in json.loads(Path(engine.end_profiling()).read_text()):
        if event.get("cat") == "Node" and event["name"].endswith("_kernel_time"):
            operator = event["args"]["op_name"]
            if operator != "If":  # its branch is listed by itself
                yield operator, event["name"], event["dur"]


def product_rate(rows: int, inner: int, columns: int) -> float:
    """GFLOP/s of a matrix product in onnxruntime."""
    import onnxruntime
    from onnx import TensorProto, helper, numpy_helper

    weight = numpy_helper.from_array(np.ones((inner, columns), np.float32), "w")
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [rows, inner])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [rows, columns])
    made = helper.make_graph([helper.make_node("MatMul", ["x", "w"], ["y"])], "product", [x], [y], [weight])
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    engine = onnxruntime.InferenceSession(model.SerializeToString(), options)
    values, times = {"x": np.ones((rows, inner), np.float32)}, []
    for _ in range(50):
        began = time.perf_counter()
        engine.run(None, values)
        times.append(time.perf_counter() - began)
    return 2e-9 * rows * inner * columns / min(times)


def main() -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--checkpoint", default="denoise-16k")
    parser.add_argument("--streams", type=int, default=64)
    parser.add_argument("--runs", type=int, default=40)
    options = parser.parse_args()
    graph = named_checkpoints.resolve(options.checkpoint).with_suffix(".onnx")
    card = Card.read(graph.with_suffix(".json"))
    second = max(1, round(card.sample_rate / card.upsampling / card.hop_length))
    shapes = {"alone": (1, 1), f"{options.streams} streams": (options.streams, 1), "file": (1, second)}
    profiles, plain = {}, {}
    for name, (streams, hops) in shapes.items():
        runs = options.runs * (5 if streams * hops == 1 else 1)
        share = streams * hops
        found = operators(graph, feed(card, streams, hops), runs)
        profiles[name] = {operator: duration / share for operator, duration in found.items()}
        plain[name] = run(session(graph), feed(card, streams, hops), runs) / share
    print(f"{'operator':22}" + "".join(f"{name:>14}" for name in shapes))
    every = {operator for found in profiles.values() for operator in found}
    for operator in sorted(every, key=lambda o: -max(found.get(o, 0.0) for found in profiles.values())):
        print(f"{operator:22}" + "".join(f"{found.get(operator, 0):14.1f}" for found in profiles.values()))
    print(f"{'all':22}" + "".join(f"{sum(found.values()):14.1f}" for found in profiles.values()))
    print(f"{'without the profile':22}" + "".join(f"{found:14.1f}" for found in plain.values()))
    flops = 2 * (card.macs_per_second or 0) * card.hop_length * card.upsampling / card.sample_rate
    rates = [flops / found / 1e3 for found in plain.values()]
    print(f"{'GFLOP/s':22}" + "".join(f"{rate:14.1f}" for rate in rates))
    products = {size: product_rate(*size) for size in ((2048, 40, 120), (2048, 80, 40), (2048, 256, 256))}
    sizes = ", ".join(f"{'x'.join(map(str, size))} {rate:.0f}" for size, rate in products.items())
    print(f"matrix products alone, GFLOP/s: {sizes}")
    least = flops / max(products.values()) / 1e3
    print(f"at that rate a hop takes {least:.0f} us: 1/{plain['alone'] / least:.1f} of one alone at best")


if __name__ == "__main__":
    run_script(main)
