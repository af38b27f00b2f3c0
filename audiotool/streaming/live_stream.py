"""A live stream as the interface in Python gives it: around a session, in the caller's kind of array."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, overload

from numpy.typing import NDArray

from audiotool.arrays import Array, ScalarT, UserArray
from audiotool.errors import StreamError
from audiotool.streaming.session import Session, Settings

if TYPE_CHECKING:
    import torch

    from audiotool.streaming.state import StreamState


class ArrayStream:
    """What live and shared streams have in common: a session, in the caller's kind of array.

    Args:
        session: processes the samples.
        checkpoint_sha256: hash of the model's checkpoint, "" without one.
        like: the kind of array that was last fed; None before the first.
    """

    # A misspelt attribute is an error, not a setting that does nothing.
    __slots__ = ("__weakref__", "_checkpoint_sha256", "_like", "session")

    def __init__(self, session: Session, checkpoint_sha256: str = "", like: UserArray | None = None) -> None:
        self.session = session
        self._checkpoint_sha256 = checkpoint_sha256
        self._like = like

    def __repr__(self) -> str:
        session = self.session
        channels = f"{session.channels} channel{'s' if session.channels > 1 else ''}"
        return (
            f"<{type(self).__name__}: {session.engine.name}, {channels} at {session.sample_rate} Hz,"
            f" latency {1000 * self.latency_seconds:.1f} ms>"
        )

    @property
    def settings(self) -> Settings:
        """The stream's options. A change counts for the samples fed after it: `live.settings = replace(…,
        mix=0.5)`.

        Raises:
            StreamError: anything but `mix` and `max_attenuation_db` is changed.
        """
        return self.session.settings

    @settings.setter
    def settings(self, settings: Settings) -> None:
        self.session.settings = settings

    @property
    def output_rate(self) -> int:
        """The output's sample rate in Hz, see `Pipeline.output_rate`."""
        return self.session.output_rate

    @property
    def latency(self) -> int:
        """Greatest lag of the output behind the input, in input samples: algorithm, hop and resampling
        together."""
        return self.session.latency

    @property
    def latency_seconds(self) -> float:
        """The latency in seconds."""
        return self.latency / self.session.sample_rate

    def __reduce_ex__(self, protocol: Any) -> Any:
        raise StreamError(
            "a stream holds a running model, which is not copied: keep stream.state(), and go on with"
            " pipeline.live(sample_rate, state=state) or streams.join(sample_rate, state=state)"
        )


class LiveStream(ArrayStream):
    """A live stream, which takes and returns the caller's kind of array."""

    __slots__ = ()

    @overload
    def feed(self, block: NDArray[ScalarT]) -> NDArray[ScalarT]: ...
    @overload
    def feed(self, block: torch.Tensor) -> torch.Tensor: ...
    def feed(self, block: Array) -> Array:
        """Consume (time,) or (channels, time), any time >= 0; return the output that is ready, in the same
        kind.

        Raises:
            InputError: wrong shape or type, NaN, or samples beyond `arrays.LOUDEST`; the stream goes on as if
                the block had not come.
            StreamError: the stream has ended, or the channels changed.
        """
        like = UserArray(block)
        output = self.session.feed(like.block)
        self._like = like  # not before: a block that is refused does not change the tail's kind
        return like.restore(output.stems)

    def flush(self) -> Any:
        """End the stream and return its tail in the kind that was fed, which type checkers do not know.
        Output and input then last equally long.

        Raises:
            StreamError: nothing was fed, or the stream has ended.
        """
        if self._like is None:
            raise StreamError("nothing was fed into this stream")
        return self._like.restore(self.session.flush().stems)

    def reset(self) -> None:
        """Drop all state; the next `feed` begins a new stream."""
        self.session.reset()
        self._like = None

    def state(self) -> StreamState:
        """Return the stream's state as a value to save or send, from which `Pipeline.live` continues.

        The conditions of an enrolment are part of it, for this stream alone.

        Raises:
            StreamError: the stream has ended, or its state is not finite.
        """
        from audiotool.streaming.state import StreamState

        return StreamState.of(self.session, self._like, self._checkpoint_sha256)

    def restore(self, state: StreamState) -> None:
        """Continue from the state of a stream of the same kind, which `Pipeline.live` has checked.

        Until the next `feed`, `flush` returns a numpy array.

        Raises:
            StreamError: the state is damaged.
        """
        self._like = state.into(self.session)
