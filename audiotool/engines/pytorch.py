"""Run any model on any device with PyTorch."""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from audiotool.compat import tree_map
from audiotool.dsp.level import Level
from audiotool.engines.base import Batch, Chunk, Engine, Member, Rows, State, joined, parted
from audiotool.engines.pytorch_rows import CommonStates, find_layout
from audiotool.errors import AudiotoolError, DeviceError, StreamError
from audiotool.models.base import Model
from audiotool.models.registry import MODELS
from audiotool.models.vocoder import Vocoder
from audiotool.text import one_line


class TorchEngine(Engine):
    """A model in eval mode, on its own device.

    The caller's autocast and gradient modes do not affect the model. In a process that was forked after
    PyTorch had begun to compute, it computes with one thread, because threads are not forked.

    Args:
        model: its device and dtype are the engine's; without weights it runs on the CPU in float32.
    """

    kind = "torch"

    def __init__(self, model: Model) -> None:
        self.model = model
        self.name = model.name
        self.takes, self.gives = model.takes, model.gives
        self.sample_rate = model.sample_rate
        self.hop_length = model.hop_length
        self.latency = model.latency
        self.delay = model.delay
        self.causal = model.causal
        self.upsampling = model.upsampling
        self.channels = model.channels
        self.input_channels = model.input_channels
        self.stems = model.stems
        self.context = model.context
        self.uses_level = model.uses_level
        self.extends_from_hz = model.extends_from_hz
        self.warm_up_seconds = model.warm_up_seconds
        self.uses_position = model.uses_position
        if isinstance(model, Vocoder):
            self.mel = model.mel
            self.uses_f0 = model.uses_f0
        values = itertools.chain(model.parameters(), model.buffers())
        first = next(filter(Tensor.is_floating_point, values), torch.empty(0, dtype=torch.float32))
        self.device, self._dtype = first.device, first.dtype
        self.device_name = str(self.device)
        self.parameters = model.parameter_count
        self._process = os.getpid()

    def start(self, **conditions: Any) -> State:
        with self._running():
            return self.model.start(**self._conditions(conditions))

    def step(self, x: Chunk, state: State = None, final: bool = False) -> tuple[Chunk, State]:
        with self._running():
            y, state = self.model.step(self._tensor(x), state, final)
            return self._array(y), state

    def process(self, x: Chunk, **conditions: Any) -> Chunk:
        with self._running():
            return self._array(self.model.process(self._tensor(x), **self._conditions(conditions)))

    def warm_up(self, beginning: Chunk) -> Any:
        with self._running():
            return self.model.warm_up(self._tensor(beginning))

    def join_memories(self, memories: Sequence[Any]) -> Any:
        def join(*parts: Any) -> Any:
            return torch.cat(parts) if isinstance(parts[0], Tensor) else parts[0]

        with self._running():
            return tree_map(join, *memories)

    def forget(self, state: State, rows: NDArray[Any], memory: Any = None, share: float = 1.0) -> State:
        with self._running():
            return self.model.forget(state, torch.from_numpy(rows).to(self.device), memory, share)

    def enrol(self, recording: Chunk) -> dict[str, Any]:
        with self._running():
            return self.model.enrol(self._tensor(recording))

    def batch(self, capacity: int) -> Batch:
        return _TorchBatch(self, capacity)

    def pack(self, state: State) -> Any:
        return tree_map(lambda x: x.cpu().numpy().copy() if isinstance(x, Tensor) else x, state)

    def unpack(self, value: Any) -> State:
        def tensor(x: Any) -> Any:
            return torch.from_numpy(x.copy()).to(self.device) if isinstance(x, np.ndarray) else x

        return tree_map(tensor, value)

    @property
    def macs_per_second(self) -> float | None:
        from audiotool.engines.cost import count_macs

        return count_macs(self.model)

    def output_length(self, length: int) -> int:
        return self.model.output_length(length)

    def _tensor(self, x: Chunk) -> Tensor:
        # A copy: a state may keep views of its input, whose memory is the caller's.
        return torch.from_numpy(np.array(x, order="C")).to(self.device, self._dtype)

    def _array(self, y: Tensor) -> Chunk:
        return y.cpu().numpy()

    def _conditions(self, conditions: dict[str, Any]) -> dict[str, Any]:
        """Return the conditions with tensors for arrays."""
        found = dict(conditions)
        level, bandwidth_hz = conditions.get("level"), conditions.get("bandwidth_hz")
        if isinstance(level, Level) and not isinstance(level.std, Tensor):
            found["level"] = Level(*(self._tensor(values) for values in (level.std, level.rms, level.mean)))
        if isinstance(bandwidth_hz, np.ndarray):
            found["bandwidth_hz"] = self._tensor(bandwidth_hz)
        return found

    @contextlib.contextmanager
    def _running(self) -> Iterator[None]:
        if os.getpid() != self._process:
            torch.set_num_threads(1)
            self._process = os.getpid()
        with contextlib.ExitStack() as stack:
            stack.enter_context(torch.inference_mode())
            if torch.is_autocast_enabled(self.device.type):
                stack.enter_context(torch.autocast(self.device.type, enabled=False))
            try:
                yield
            except torch.OutOfMemoryError as error:
                raise DeviceError(
                    "the device has no memory left: try a smaller --chunk, or --device cpu"
                ) from error
            except AudiotoolError:
                raise
            except Exception as error:
                # A bug in a model of this project is raised as it is.
                if MODELS.package_of(self.name) is None:
                    raise
                reason = one_line(f"{type(error).__name__}: {error}")
                raise StreamError(f"{MODELS.called(self.name)} failed: {reason}") from error


class _TorchBatch(Batch):
    """Streams whose states are rows of common tensors, if the model's states allow it."""

    engine: TorchEngine

    def __init__(self, engine: TorchEngine, capacity: int) -> None:
        super().__init__(engine, capacity)
        with engine._running():
            layout = find_layout(engine.model)
            self._states = None if layout is None else CommonStates(layout, capacity)

    def _insert(self, rows: Rows, state: State) -> bool:
        if self._states is None:
            return False
        with self.engine._running():
            return self._states.insert(rows, state)

    def _extract(self, rows: Rows) -> State:
        assert self._states is not None
        with self.engine._running():
            return self._states.get(rows)

    def _step(self, members: Sequence[Member]) -> dict[Rows, Chunk]:
        assert self._states is not None
        rows, x = joined(members)
        with self.engine._running():
            y, state = self.engine.model.step(self.engine._tensor(x), self._states.get(rows))
            self._states.put(rows, state)
            return parted(members, self.engine._array(y))
