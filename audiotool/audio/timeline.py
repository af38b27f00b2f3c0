"""Where the frames of a sound track lie in time, and the silence between them.

Decoders join frames. Players put each one where its timestamp says.
"""

from __future__ import annotations

from typing import Any

SMALLEST_GAP_S = 0.02
"""A frame that is later than this has a gap before it. Less is no gap: Matroska and FLV round timestamps to
1 ms, and decoders cut what a codec adds. Sound ahead of the picture is noticed from 45 ms on (ITU-R BT.1359).
"""

SMALLEST_OVERLAP_S = 0.1
"""A frame that is earlier than this overlaps those before it. Less is none: recorders that read a clock are
late for some frames, and on time for the next. FFmpeg's filter `aresample` corrects what exceeds the same.
"""

LONGEST_GAP_S = 10.0
"""Longest gap where a file states no length. FFmpeg takes longer ones for a clock that was set anew."""


class Timeline:
    """Places the decoded frames of a track by their timestamps.

    A frame is late or early by all deviations since the beginning, so that small gaps count together.

    Args:
        sample_rate: Hz.
        begin: time of the beginning in seconds; None is the first frame's.
        length: seconds that the file lasts as it states them; None where it does not.
    """

    def __init__(self, sample_rate: int, begin: float | None, length: float | None) -> None:
        self._rate, self._begin, self._length = sample_rate, begin, length
        self._position = 0.0
        self._gaps = self._silence = 0
        self._lead_s = 0.0
        self._jump = ""

    def silence_before(self, frame: Any) -> int:
        """Place the next frame; return the number of samples of silence that belong before it."""
        silence = 0
        # Codecs and containers leave out times that follow from those before.
        if frame.time is not None:
            silence = self._place(frame.time)
        self._position += silence + frame.samples * self._rate / frame.sample_rate
        return silence

    def _place(self, time: float) -> int:
        if self._begin is None:
            self._begin = time
        there = self._position / self._rate
        late = time - self._begin - there
        # Before the first sample silence makes no hole: there it is exact.
        smallest = SMALLEST_GAP_S if there else 0.0
        if -SMALLEST_OVERLAP_S <= late <= smallest:
            return 0
        # A damaged timestamp must not become hours of silence.
        longest = LONGEST_GAP_S if self._length is None else self._length - there
        if not 0 < late <= longest:
            self._jump = self._jump or f"{late:+.2f} s after {there:.2f} s"
            self._begin += late
            return 0
        silence = round(late * self._rate)
        if there:
            self._gaps += 1
            self._silence += silence
        else:
            self._lead_s = late
        return silence

    def remarks(self, name: str) -> list[str]:
        """Return remarks for the user on the frames until now.

        Args:
            name: of the file.
        """
        found = []
        if self._lead_s > SMALLEST_GAP_S:
            found.append(
                f"{name} has sound from {self._lead_s:.2f} s on: silence precedes it, as in the video"
            )
        if self._gaps:
            gaps = "1 gap" if self._gaps == 1 else f"{self._gaps} gaps"
            filled = f"{self._silence / self._rate:.2f} s in all, {'is' if self._gaps == 1 else 'are'} filled"
            found.append(f"{name} has pauses: {gaps}, {filled} with silence")
        if self._jump:
            found.append(
                f"{name} has timestamps that jump, first by {self._jump}: the sound is joined there, and"
                " nothing of it is cut"
            )
        return found
