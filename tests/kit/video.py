"""Videos for tests."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from types import MappingProxyType
from typing import Any

import av
import numpy as np

from kit.audio import speech_like

CODECS = {".webm": ("libvpx-vp9", "libopus")}
SECONDS, PICTURES = 2.0, 20


def write_video(path: Path, begin: int = 0, tags: Mapping[str, str] = MappingProxyType({})) -> Path:
    """20 pictures a tenth of a second apart and as much speech, which begin after `begin` tenths of one.
    The title is "A talk"; others of the tags are those that a phone writes."""
    pictures, sounds = CODECS.get(path.suffix, ("mpeg4", "aac"))
    options = {"movflags": "+use_metadata_tags"} if tags else {}
    with av.open(str(path), "w", options=options) as container:
        container.metadata.update({"title": "A talk", **tags})
        whole: dict[str, Any] = {"id": 1, "start": 0, "end": 1500, "time_base": Fraction(1, 1000)}
        container.set_chapters([{**whole, "metadata": {"title": "Greeting"}}])
        video: Any = container.add_stream(pictures, rate=10, width=64, height=64)
        video.pix_fmt = "yuv420p"
        sound: Any = container.add_stream(sounds, rate=48000, layout="stereo")
        frame = av.AudioFrame.from_ndarray(speech_like(SECONDS, 48000, 2), format="fltp", layout="stereo")
        frame.sample_rate, frame.pts, frame.time_base = 48000, begin * 4800, Fraction(1, 48000)
        packets = [*sound.encode(frame), *sound.encode(None)]
        for n in range(PICTURES):
            image = av.VideoFrame.from_ndarray(np.full((64, 64, 3), 10 * n, np.uint8), format="rgb24")
            image.pts, image.time_base = n + begin, Fraction(1, 10)
            packets += video.encode(image)
        container.mux([*packets, *video.encode(None)])
    return path
