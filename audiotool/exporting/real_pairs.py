"""Run a traced program without complex numbers, which ONNX does not have.

`RealProgram` runs a program of `torch.export` with every complex tensor as a `ComplexPair` of real ones, and
Fourier transforms as products with matrices (`fourier.py`). Traced once more, it is a program of real numbers
alone. Models keep their complex arithmetic.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from audiotool.compat import tree_any, tree_map
from audiotool.errors import ExportError
from audiotool.exporting.fourier import inverse_transform, transform


@dataclass
class ComplexPair:
    """A complex tensor as its real and imaginary parts."""

    real: Tensor
    imaginary: Tensor

    @property
    def power(self) -> Tensor:
        """The squared magnitude."""
        return self.real * self.real + self.imaginary * self.imaginary


class RealProgram(torch.fx.Interpreter):
    """Run a traced program on real tensors; complex inputs and outputs have a last axis (real, imaginary).

    Raises:
        ExportError: an operator on complex numbers has no real form here.
    """

    def __init__(self, program: torch.nn.Module) -> None:
        super().__init__(program, garbage_collect_values=False)

    def run_node(self, n: torch.fx.Node) -> Any:
        if n.op == "output":
            return tree_map(_interleaved, super().run_node(n), is_leaf=_is_pair)
        if getattr(n.target, "_opname", "") in ("bmm", "baddbmm"):
            return self._product(n)
        return super().run_node(n)

    def _product(self, n: torch.fx.Node) -> Any:
        """Compute a batched product, and a sum, so that the graph repeats no operand for each batch."""
        nodes = [node for node in n.args if isinstance(node, torch.fx.Node)]
        inputs = [node.args[0] if getattr(node.target, "_opname", "") == "expand" else node for node in nodes]
        *bias, a, b = (self.env[node] for node in inputs if isinstance(node, torch.fx.Node))
        return a @ b + bias[0] if bias else a @ b

    def call_module(self, target: Any, args: Any, kwargs: Any) -> Any:
        # The only module in a traced program checks the trace's assumptions about its inputs.
        return None

    def call_function(self, target: Any, args: Any, kwargs: Any) -> Any:
        name = getattr(target, "_opname", getattr(target, "__name__", ""))
        if name in ALWAYS:
            return ALWAYS[name](*args, **kwargs)
        if not tree_any(_is_pair, (args, kwargs), is_leaf=_is_pair):
            if name in ("add", "sub") and isinstance(args[1], float):
                # The exporter's optimiser replaces a small scalar, such as 1e-8, by 0.
                args = (args[0], torch.tensor([args[1]], dtype=args[0].dtype), *args[2:])
            return super().call_function(target, args, kwargs)
        if name == "getitem":
            return args[0][args[1]]
        if name in SHAPES:
            return _on_each_part(target, args, kwargs)
        if name not in ARITHMETIC:
            raise ExportError(f"its operation '{name}' on complex numbers has no counterpart in a graph")
        return ARITHMETIC[name](*args, **kwargs)


def _is_pair(value: Any) -> bool:
    return isinstance(value, ComplexPair)


def _interleaved(value: Any) -> Any:
    return torch.stack((value.real, value.imaginary), dim=-1) if _is_pair(value) else value


def _on_each_part(target: Any, args: Any, kwargs: Any) -> Any:
    """Apply an operator that only moves values to the real and the imaginary parts."""
    found = [
        target(*tree_map(part, args, is_leaf=_is_pair), **tree_map(part, kwargs, is_leaf=_is_pair))
        for part in (
            lambda x: x.real if _is_pair(x) else x,
            lambda x: x.imaginary if _is_pair(x) else x,
        )
    ]
    if isinstance(found[0], (list, tuple)):
        return [ComplexPair(*pair) for pair in zip(*found, strict=True)]
    return ComplexPair(*found)


def _pair(x: Any) -> ComplexPair:
    """Return a number, a real tensor or a pair as a pair."""
    if _is_pair(x):
        return x
    return ComplexPair(x, torch.zeros_like(x) if isinstance(x, Tensor) else 0.0)  # type: ignore[arg-type]


def _multiply(a: Any, b: Any) -> ComplexPair:
    if not _is_pair(a):
        a, b = b, a
    if not _is_pair(b):
        return ComplexPair(a.real * b, a.imaginary * b)
    return ComplexPair(
        a.real * b.real - a.imaginary * b.imaginary,
        a.real * b.imaginary + a.imaginary * b.real,
    )


def _divide(a: Any, b: Any) -> ComplexPair:
    if not _is_pair(b):
        return ComplexPair(a.real / b, a.imaginary / b)
    quotient = _multiply(a, ComplexPair(b.real, -b.imaginary))
    return _divide(quotient, b.power)


def _add(a: Any, b: Any, alpha: float = 1) -> ComplexPair:
    a, b = _pair(a), _pair(b)
    if alpha == 1:
        return ComplexPair(a.real + b.real, a.imaginary + b.imaginary)
    return ComplexPair(a.real + alpha * b.real, a.imaginary + alpha * b.imaginary)


def _add_product(a: Any, b: Any, c: Any, value: float = 1) -> ComplexPair:
    return _add(a, _multiply(b, c), alpha=value)


def _parts_last(x: Tensor) -> ComplexPair:
    return ComplexPair(x.select(-1, 0), x.select(-1, 1))


def rfft(x: Tensor, n: int | None = None, dim: int = -1, norm: str | None = None) -> ComplexPair:
    """Compute `torch.fft.rfft` of an even number of samples along the last axis."""
    size = x.shape[-1]
    if n not in (None, size) or dim not in (-1, x.dim() - 1) or norm not in (None, "backward") or size % 2:
        raise ExportError("its Fourier transform is of a kind that graphs have not")
    return ComplexPair(*transform(x))


def irfft(x: ComplexPair, n: int | None = None, dim: int = -1, norm: str | None = None) -> Tensor:
    """Compute `torch.fft.irfft` to an even number of samples along the last axis."""
    half = x.real.shape[-1] - 1
    size = 2 * half
    if n not in (None, size) or dim not in (-1, x.real.dim() - 1) or norm not in (None, "backward"):
        raise ExportError("its inverse Fourier transform is of a kind that graphs have not")
    return inverse_transform(x.real, x.imaginary)


def _unfold(x: Tensor, dimension: int, size: int, step: int) -> Tensor:
    """Cut the last axis into frames by joining neighbouring hops."""
    if dimension not in (-1, x.dim() - 1) or size % step:
        return x.unfold(dimension, size, step)
    frames, count = (x.shape[-1] - size) // step + 1, size // step
    hops = x[..., : (frames + count - 1) * step].unflatten(-1, (frames + count - 1, step))
    return torch.cat([hops[..., n : n + frames, :] for n in range(count)], dim=-1)


def _gru(x: Tensor, hidden: Tensor, *options: Any) -> tuple[Tensor, Tensor]:
    from audiotool.models.layers.graph_operators import gru

    y, states = _recurrent_layers(gru, x, [hidden], *options)
    return y, states[0]


def _lstm(x: Tensor, states: list[Tensor], *options: Any) -> tuple[Tensor, Tensor, Tensor]:
    from audiotool.models.layers.graph_operators import lstm

    y, (hidden, cell) = _recurrent_layers(lstm, x, states, *options)
    return y, hidden, cell


def _recurrent_layers(
    layer: Callable[..., Any],
    x: Tensor,
    states: list[Tensor],
    weights: list[Tensor],
    has_biases: bool,
    layers: int,
    dropout: float,
    train: bool,
    bidirectional: bool,
    batch_first: bool,
) -> tuple[Tensor, list[Tensor]]:
    """Run recurrent layers one after another, and the directions of each side by side.

    Args:
        layer: one layer of one direction over (T, B, C).
        x: (T, B, C), or (B, T, C) if `batch_first`.
        states: each (layers * directions, B, H).
        weights, ..., batch_first: as `torch.ops.aten.gru.input` takes them. Graphs have no dropout.
    Returns:
        The output of the last layer, and the last states.
    """
    if not has_biases or len(weights) != 4 * layers * (1 + bidirectional):
        raise ExportError("its recurrent layers have no biases, or project their outputs")
    x = x.transpose(0, 1) if batch_first else x
    found: list[list[Tensor]] = []
    for _ in range(layers):
        outputs = []
        for backward in (False, True)[: 1 + bidirectional]:
            k = len(found)
            begun = [state[k : k + 1] for state in states]
            y, *last = layer(x.flip(0) if backward else x, *begun, *weights[4 * k : 4 * k + 4])
            outputs.append(y.flip(0) if backward else y)
            found.append(last)
        x = torch.cat(outputs, dim=-1) if bidirectional else outputs[0]
    last_states = [rows[0] if len(rows) == 1 else torch.cat(rows) for rows in zip(*found, strict=True)]
    return x.transpose(0, 1) if batch_first else x, last_states


ALWAYS: dict[str, Callable[..., Any]] = {
    "fft_rfft": rfft,
    "fft_irfft": irfft,
    "unfold": _unfold,
    "gru": _gru,
    "lstm": _lstm,
    "complex": ComplexPair,
    "polar": lambda radius, angle: ComplexPair(radius * angle.cos(), radius * angle.sin()),
    "view_as_complex": _parts_last,
}
"""Operators that are always replaced."""

SHAPES = frozenset(
    {
        "alias",
        "cat",
        "chunk",
        "clone",
        "constant_pad_nd",
        "contiguous",
        "detach",
        "expand",
        "flatten",
        "flip",
        "index_select",
        "movedim",
        "narrow",
        "pad",
        "permute",
        "repeat_interleave",
        "reshape",
        "select",
        "slice",
        "split",
        "split_with_sizes",
        "squeeze",
        "stack",
        "swapaxes",
        "transpose",
        "unbind",
        "unflatten",
        "unsqueeze",
        "view",
    }
)
"""Operators that move values without computing."""

ARITHMETIC: dict[str, Callable[..., Any]] = {
    "mul": _multiply,
    "div": _divide,
    "add": _add,
    "sub": lambda a, b, alpha=1: _add(a, b, -alpha),
    "addcmul": _add_product,
    "addcmul_": _add_product,
    "lerp": lambda a, b, weight: _add(a, _add(b, a, -1), weight),
    "neg": lambda x: ComplexPair(-x.real, -x.imaginary),
    "conj": lambda x: ComplexPair(x.real, -x.imaginary),
    "_conj": lambda x: ComplexPair(x.real, -x.imaginary),
    "resolve_conj": lambda x: x,
    "abs": lambda x: x.power.sqrt(),
    "sum": lambda x, *args, **kwargs: ComplexPair(
        x.real.sum(*args, **kwargs), x.imaginary.sum(*args, **kwargs)
    ),
    "real": lambda x: x.real,
    "imag": lambda x: x.imaginary,
    "view_as_real": _interleaved,
    "new_zeros": lambda x, size, **_: ComplexPair(x.real.new_zeros(size), x.real.new_zeros(size)),
    "zeros_like": lambda x, **_: ComplexPair(torch.zeros_like(x.real), torch.zeros_like(x.real)),
    "sym_size": lambda x, axis: x.real.shape[axis],
}
"""Operators on complex numbers -> their real forms."""
