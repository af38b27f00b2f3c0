"""Receptive fields: the input that a span of output depends on, computed from the layers.

A span is (first, last) inclusive. From the output of a network back to its input, layer by layer, the span of
one frame's samples becomes the span of frames that they depend on, which is a vocoder's exact context.

    kernel 3, dilation 2, padding 2      output  [5 6]
                                         input   [3 . . 8]       5 - 2 … 6 - 2 + 4

    transposed, kernel 4, stride 2, padding 1: input i reaches outputs 2i - 1 … 2i + 2
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable
from typing import Protocol, runtime_checkable

from torch import nn

Span = tuple[int, int]


@runtime_checkable
class HasInputSpan(Protocol):
    """A module with a method for its receptive field."""

    def input_span(self, span: Span) -> Span: ...


def conv_span(span: Span, kernel_size: int, stride: int = 1, dilation: int = 1, padding: int = 0) -> Span:
    """Return the input span of a convolution for an output span; `padding` is the left one."""
    return span[0] * stride - padding, span[1] * stride - padding + (kernel_size - 1) * dilation


def conv_transpose_span(span: Span, kernel_size: int, stride: int, padding: int = 0) -> Span:
    """Return the input span of a transposed convolution; `padding` is the number of samples cut on the
    left."""
    return -(-(span[0] + padding - kernel_size + 1) // stride), (span[1] + padding) // stride


def union(spans: Iterable[Span]) -> Span:
    """Return the smallest span that covers all, as for parallel branches."""
    listed = list(spans)
    return min(s[0] for s in listed), max(s[1] for s in listed)


def input_span(layers: nn.Module | Iterable[nn.Module], span: Span) -> Span:
    """Return the input span of a chain of layers for a `span` of its output.

    Convolutions over the last axis, and modules with a method `input_span`, are considered. All other modules
    count as sample by sample.
    """
    chain = [layers] if isinstance(layers, nn.Module) else list(layers)
    for layer in reversed(chain):
        if isinstance(layer, HasInputSpan):
            span = layer.input_span(span)
        elif isinstance(layer, nn.ConvTranspose1d):
            span = conv_transpose_span(span, layer.kernel_size[0], layer.stride[0], int(layer.padding[0]))
        elif isinstance(layer, nn.Conv1d):
            padding = int(getattr(layer, "left_padding", layer.padding[0]))
            span = conv_span(span, layer.kernel_size[0], layer.stride[0], layer.dilation[0], padding)
        elif isinstance(layer, nn.Sequential):
            span = input_span(layer.children(), span)
    return span


def residual_span(layers: nn.Module | Iterable[nn.Module], span: Span) -> Span:
    """Return the input span of x + layers(x)."""
    return union((span, input_span(layers, span)))


def context_of(span: Span) -> tuple[int, int]:
    """Return the context (before, after) in input items, from the input span of the outputs of item 0."""
    return max(0, -span[0]), max(0, span[1])


def latency_of(needs: Callable[[Span], Span], upsampling: int) -> int:
    """Return the latency in output samples: the greatest distance of a sample from the last frame that it
    needs.

    Args:
        needs: function from a span of output samples to the span of frames that it depends on.
        upsampling: samples a frame; frame f arrives as sample f * upsampling.
    """
    last = needs((0, 0))[1]
    later = 1 + bisect_left(range(1, upsampling + 1), last + 1, key=lambda t: needs((t, t))[1])
    return max(0, (last + 1) * upsampling - later)
