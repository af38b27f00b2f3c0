"""Run an exported graph with numpy and onnxruntime alone.

    engine = OnnxEngine.open("denoise-16k.onnx")

The graph takes whole hops and returns as many samples as it takes (`engines/card.py`). The engine adds
streams of chunks of any length: input is buffered until its hop is complete, the first `delay` output samples
are dropped, and at the end `drain_value` is fed until the tail is complete.
"""

from __future__ import annotations

import math
import os
import re
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from audiotool.dsp.attenuation import is_kept
from audiotool.dsp.level import Level
from audiotool.engines.base import Batch, Chunk, Engine, Member, Rows, State, joined, parted, selection
from audiotool.engines.card import OLDEST_RUNTIME, OPSET, Card
from audiotool.engines.graph_file import check_graph
from audiotool.errors import CheckpointError, DependencyError
from audiotool.extras import installing

if TYPE_CHECKING:
    import onnxruntime

PIECE_SECONDS = 1.0
"""Greatest length of the input of one run; the intermediate results of longer inputs do not fit into the
processor's caches."""

IDLE_PASSES = [
    *("CommonSubexpressionElimination", "ConstantSharing", "DoubleQDQPairsRemover"),
    *("EnsureUniqueDQForNodeUnit", "FreeDimensionOverrideTransformer", "GeluFusionL1", "LayerNormFusionL1"),
    *("Level1_RuleBasedTransformer", "MatMulAddFusion", "QDQPropagationTransformer", "ReshapeFusion"),
    *("SliceConcatToSpaceToDepthFusion", "TransposeOptimizer", "WeightBiasQuantization", "WhereDummyDq"),
]
"""Basic optimisations of onnxruntime that make no exported graph faster, because `exporting/` has simplified
it. They take a third of the time of loading. Only constants are folded, which widens half precision."""


class _Stream(NamedTuple):
    """State of a stream.

    Args:
        tensors: the graph's states, None before the first run.
        given: initial states that differ from the card's, by name; not read once there are tensors.
        waiting: (B, C, less than a hop) input that has not been run; None where there is none.
        fed: number of input items so far.
        run: number of input items that the graph has processed.
    """

    tensors: tuple[NDArray[Any], ...] | None
    given: Mapping[str, NDArray[Any]]
    waiting: Chunk | None = None
    fed: int = 0
    run: int = 0


class OnnxEngine(Engine):
    """A graph and its card, ready to run. Any number of streams and threads may share it.

    Args:
        graph: content of the ONNX file, already checked, or its absolute path where the weights are in the
            checkpoint beside it. A forked process opens both again, and only if they have not changed.
        card: the graph's card.
        source: the file, for messages.
        threads: that one run may use; None is one, the fastest for these small models.
    Raises:
        CheckpointError: onnxruntime refuses the graph, or graph and card do not fit each other.
    """

    kind = "onnx"

    def __init__(self, graph: bytes | str, card: Card, source: Path, threads: int | None = None) -> None:
        self.card = card
        self.name, self.stems, self.sample_rate = card.name, card.stems, card.sample_rate
        self.hop_length, self.upsampling = card.hop_length, card.upsampling
        self.latency, self.delay = card.latency, card.delay
        self.channels, self.input_channels = card.channels, card.input_channels
        self.extends_from_hz, self.warm_up_seconds = card.extends_from_hz, card.warm_up_seconds
        self.uses_level = card.uses_level
        self.uses_f0, self.parameters = card.uses_f0, card.parameters
        self.takes = ("waveform",) if card.upsampling == 1 else ("mel",)
        self.gives = ("stems",) if len(card.stems) > 1 else ("speech",)
        if card.extends_from_hz is not None:
            self.gives = ("wide-band",)
        if card.mel is not None:
            from audiotool.dsp.mel import mel_config

            self.mel = mel_config(card.mel)
        self._graph, self._source, self._threads = graph, source, 1 if threads is None else threads
        self._start = [state.values() for state in card.states]
        self._inputs = [state.name for state in card.states]
        self._outputs = ["output", *(f"next_{name}" for name in self._inputs)]
        seconds = card.sample_rate / card.upsampling * PIECE_SECONDS
        self._piece = math.ceil(seconds / card.hop_length) * card.hop_length
        self._lock = threading.Lock()
        self._sessions: dict[int, onnxruntime.InferenceSession] = {}
        self._check_interface(self._session())

    @classmethod
    def open(
        cls, graph: Path | str, checkpoint: Path | str | None = None, threads: int | None = None
    ) -> OnnxEngine:
        """Open a graph and its card, which has the same name with the ending ".json".

        Args:
            checkpoint: the file from which the graph must have been made.
            threads: see the class.
        Raises:
            CheckpointError: the graph is missing, damaged, not the checkpoint's, of another opset, or not
                self-contained.
            DependencyError: onnxruntime is missing or too old.
        """
        graph = Path(graph)
        card = Card.read(graph.with_suffix(".json"))
        try:
            data = graph.read_bytes()
        except OSError as error:
            raise CheckpointError(f"{graph}: the graph cannot be read ({error.strerror})") from error
        beside = graph.with_suffix(".safetensors")
        shares_weights = check_graph(data, graph, OPSET, beside.name)
        if _sha256(data) != card.graph_sha256:
            raise CheckpointError(f"{graph} is not the graph its card describes: export it again")
        if checkpoint is not None:
            _check_made_from(Path(checkpoint), card, graph)
        if shares_weights and (checkpoint is None or Path(checkpoint) != beside):
            _check_made_from(beside, card, graph)
        # A path that stays right in a process that was forked and works in another folder.
        engine = cls(str(graph.absolute()) if shares_weights else data, card, graph, threads)
        if checkpoint is not None:
            engine.checkpoint_sha256 = card.checkpoint_sha256
        return engine

    def start(self, **conditions: Any) -> State:
        given: dict[str, NDArray[Any]] = dict(conditions.get("memory") or {})
        for name, value in conditions.items():
            if name in self._inputs and value is not None:
                given[name] = value.std if isinstance(value, Level) else np.asarray(value)
        return _Stream(None, given)

    def step(self, x: Chunk, state: State = None, final: bool = False) -> tuple[Chunk, State]:
        stream: _Stream = self.start() if state is None else state
        fed = stream.fed + x.shape[-1]
        if stream.waiting is not None and stream.waiting.shape[-1]:
            x = np.concatenate((stream.waiting, x), axis=-1)
        x = np.asarray(x, np.float32)
        if final:
            missing = self._items_for(fed) - stream.run - x.shape[-1]
            x = np.pad(x, ((0, 0), (0, 0), (0, max(missing, 0))), constant_values=self.card.drain_value)
        whole = x.shape[-1] // self.hop_length * self.hop_length
        output, tensors = self._run(x[..., :whole], stream)
        before = max(0, min(self.delay - stream.run * self.upsampling, output.shape[-1]))
        waiting = x[..., whole:].copy()
        return output[..., before:], _Stream(tensors, stream.given, waiting, fed, stream.run + whole)

    def warm_up(self, beginning: Chunk) -> Any:
        if not self.card.warmed_up:
            return super().warm_up(beginning)
        kept, stream = self.step(beginning, self.start())
        stream = self.forget(stream, ~is_kept(beginning, kept))
        found = dict(zip(self._inputs, stream.tensors or (), strict=False))
        return {name: found[name] for name in self.card.warmed_up if name in found}

    def join_memories(self, memories: Sequence[Any]) -> Any:
        return {name: np.concatenate([memory[name] for memory in memories]) for name in memories[0]}

    def forget(self, state: State, rows: NDArray[Any], memory: Any = None, share: float = 1.0) -> State:
        stream: _Stream = state
        if stream.tensors is None:
            return stream
        initial = self._begin(len(rows), memory or {})
        # After an input far beyond full scale the state is not finite. The writer of the output says so.
        with np.errstate(invalid="ignore"):
            tensors = tuple(
                np.where(
                    rows.reshape(-1, *[1] * (held.ndim - 1)), share * start + (1 - share) * held, held
                ).astype(held.dtype, copy=False)
                if name in self.card.warmed_up
                else held
                for name, start, held in zip(self._inputs, initial, stream.tensors, strict=True)
            )
        return stream._replace(tensors=tensors)

    def batch(self, capacity: int) -> Batch:
        return _OnnxBatch(self, capacity)

    def pack(self, state: State) -> Any:
        stream: _Stream = state
        tensors = None if stream.tensors is None else dict(zip(self._inputs, stream.tensors, strict=True))
        return {**stream._asdict(), "tensors": tensors, "given": dict(stream.given)}

    def unpack(self, value: Any) -> State:
        held = value["tensors"]
        tensors = None if held is None else tuple(held[name] for name in self._inputs)
        return _Stream(**{**value, "tensors": tensors})

    @property
    def macs_per_second(self) -> float | None:
        return self.card.macs_per_second

    def output_length(self, length: int) -> int:
        return max(0, length - self.card.shorter) * self.upsampling

    def _items_for(self, length: int) -> int:
        """Return the input items, in whole hops, after which all output of a stream of `length` items has
        come."""
        wanted = self.output_length(length)
        items = -(-(wanted + self.delay) // self.upsampling) if wanted else 0
        return -(-items // self.hop_length) * self.hop_length

    def _run(self, x: Chunk, stream: _Stream) -> tuple[Chunk, tuple[NDArray[Any], ...] | None]:
        """Run whole hops; return as many samples, and the states after them."""
        if not x.shape[-1]:
            return np.zeros(
                (x.shape[0], len(self.stems) * x.shape[1] if self.upsampling == 1 else 1, 0), np.float32
            ), stream.tensors
        session = self._session()
        tensors = self._begin(x.shape[0], stream.given) if stream.tensors is None else stream.tensors
        outputs = []
        for first in range(0, x.shape[-1], self._piece):
            piece = np.ascontiguousarray(x[..., first : first + self._piece])
            output, *rest = session.run(
                self._outputs, {"input": piece, **dict(zip(self._inputs, tensors, strict=True))}
            )
            outputs.append(output)
            tensors = tuple(rest)
        return outputs[0] if len(outputs) == 1 else np.concatenate(outputs, axis=-1), tensors

    def _begin(self, batch: int, given: Mapping[str, NDArray[Any]]) -> tuple[NDArray[Any], ...]:
        """Return the states of `batch` streams at their beginning."""
        tensors = []
        for state, start in zip(self.card.states, self._start, strict=True):
            values = np.asarray(given.get(state.name, start), start.dtype)
            if not state.by_row and values.ndim and len(values) > len(start):
                values = values.max(axis=0, keepdims=True)  # one bandwidth for all rows: the widest
            shape = (batch, *start.shape[1:]) if state.by_row else start.shape
            tensors.append(np.ascontiguousarray(np.broadcast_to(values, shape)))
        return tuple(tensors)

    def _session(self) -> onnxruntime.InferenceSession:
        """Return this process's onnxruntime session. One made before a fork would wait for threads of the
        parent."""
        process = os.getpid()
        session = self._sessions.get(process)
        if session is None:
            with self._lock:
                session = self._sessions.get(process)
                if session is None:
                    if self._sessions and isinstance(self._graph, str):
                        self._check_unchanged(Path(self._graph))
                    session = _make_session(self._graph, self._source, self._threads)
                    self._sessions[process] = session
        return session

    def _check_unchanged(self, graph: Path) -> None:
        """Check that the files that are opened again are those from which this engine was made."""
        checkpoint = graph.with_suffix(".safetensors")
        made_of = {graph: self.card.graph_sha256, checkpoint: self.card.checkpoint_sha256}
        for file, digest in made_of.items():
            try:
                found = _sha256(file.read_bytes())
            except OSError as error:
                raise CheckpointError(
                    f"{file} cannot be read ({error.strerror}), and a forked process opens it again: keep it,"
                    " or load the pipeline in each process"
                ) from error
            if found != digest:
                raise CheckpointError(f"{file} has changed since this pipeline was loaded: load it again")

    def _check_interface(self, session: onnxruntime.InferenceSession) -> None:
        """Check that the graph's inputs and outputs are those of the card."""
        inputs = {value.name: value.type for value in session.get_inputs()}
        types = {"float32": "tensor(float)", "float64": "tensor(double)", "int64": "tensor(int64)"}
        expected = {"input": "tensor(float)"} | {s.name: types[s.type] for s in self.card.states}
        if inputs != expected or [v.name for v in session.get_outputs()] != self._outputs:
            raise CheckpointError(
                f"{self._source}: its inputs and outputs are not those of its card: export it again"
            )


class _OnnxBatch(Batch):
    """States of many streams in arrays whose first axis is rows; those without such an axis are common."""

    engine: OnnxEngine

    def __init__(self, engine: OnnxEngine, capacity: int) -> None:
        super().__init__(engine, capacity)
        self._tensors = [np.array(tensor) for tensor in engine._begin(capacity, {})]
        self._by_row = [state.by_row for state in engine.card.states]
        self._run: dict[Rows, int] = {}

    def remove(self, rows: Rows) -> None:
        super().remove(rows)
        self._run.pop(rows, None)

    def _insert(self, rows: Rows, state: State) -> bool:
        stream: _Stream = state
        if stream.waiting is not None and stream.waiting.shape[-1]:
            return False
        initial = self.engine._begin(len(rows), stream.given) if stream.tensors is None else stream.tensors
        pairs = list(zip(self._tensors, initial, self._by_row, strict=True))
        if not all(by_row or np.array_equal(common, own) for common, own, by_row in pairs):
            return False
        for common, own, by_row in pairs:
            if by_row:
                common[list(rows)] = own
        self._run[rows] = stream.run
        return True

    def _extract(self, rows: Rows) -> State:
        tensors = tuple(
            common[list(rows)] if by_row else common.copy()
            for common, by_row in zip(self._tensors, self._by_row, strict=True)
        )
        run = self._run[rows]
        return _Stream(tensors, {}, fed=run, run=run)

    def _step(self, members: Sequence[Member]) -> dict[Rows, Chunk]:
        engine, hop = self.engine, self.engine.hop_length
        rows, x = joined(members)
        some = selection(rows)
        pairs = list(zip(self._tensors, self._by_row, strict=True))
        states = [common[some] if by_row else common for common, by_row in pairs]
        feed = {"input": x, **dict(zip(engine._inputs, states, strict=True))}
        output, *states = engine._session().run(engine._outputs, feed)
        for (common, by_row), new in zip(pairs, states, strict=True):
            if by_row:
                common[some] = new
        outputs = parted(members, output)
        for own, _ in members:
            run = self._run[own]
            self._run[own] = run + hop
            if run * engine.upsampling < engine.delay:
                outputs[own] = outputs[own][..., engine.delay - run * engine.upsampling :]
        return outputs


def _make_session(graph: bytes | str, source: Path, threads: int) -> onnxruntime.InferenceSession:
    runtime = _runtime()
    options = runtime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    # Higher levels cost more time at loading than they save in graphs this small.
    options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    # Idle threads must not spin: they would take processor time from other streams.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        return runtime.InferenceSession(
            graph, options, providers=["CPUExecutionProvider"], disabled_optimizers=IDLE_PASSES
        )
    except Exception as error:  # onnxruntime's errors have no common base class
        # The message follows the call stack.
        reason = re.split(r"\[ONNXRuntimeError\] : \d+ : \w+ : ", str(error).splitlines()[0])[-1]
        raise CheckpointError(
            f"{source}: onnxruntime refuses this graph ({reason}): export it again"
        ) from error


def _runtime() -> Any:
    """Import onnxruntime.

    Raises:
        DependencyError: missing, broken or too old.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise DependencyError(f"onnxruntime does not load ({error}): {installing('onnxruntime')}") from error
    version = tuple(int(part) for part in onnxruntime.__version__.split(".")[:2])
    if version < OLDEST_RUNTIME:
        oldest = ".".join(map(str, OLDEST_RUNTIME))
        raise DependencyError(
            f"onnxruntime {onnxruntime.__version__} is too old: graphs of opset {OPSET} need {oldest}:"
            f" {installing('--upgrade onnxruntime')}"
        )
    return onnxruntime


def _check_made_from(checkpoint: Path, card: Card, graph: Path) -> None:
    try:
        digest = _sha256(checkpoint.read_bytes())
    except OSError as error:
        raise CheckpointError(f"{checkpoint}: the checkpoint cannot be read ({error.strerror})") from error
    if digest != card.checkpoint_sha256:
        raise CheckpointError(
            f"{graph} was not made from {checkpoint}, which has changed: export it again with"
            f" `audiotool models export {checkpoint} -o {graph} --overwrite`"
        )


def _sha256(data: bytes) -> str:
    import hashlib

    return hashlib.sha256(data).hexdigest()
