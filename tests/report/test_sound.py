"""Sound in small: of either encoder it is the recording, at its place, of any rate and block."""

from __future__ import annotations

import io

import numpy as np
import pytest
import soundfile
from kit.audio import speech_like

from audiotool import extras
from audiotool.extras import is_there
from audiotool.report import sound
from audiotool.report.sound import Encoder, Opus, Vorbis, make_encoder

needs_pyav = pytest.mark.skipif(not is_there("av"), reason=extras.install("media"))


@pytest.mark.parametrize("encoder", [pytest.param(Opus, marks=needs_pyav), Vorbis])
@pytest.mark.parametrize(("rate", "channels"), [(8000, 1), (16000, 2), (22050, 1), (44100, 2), (48000, 1)])
def test_the_sound_is_the_recording(encoder: type[Encoder], rate: int, channels: int) -> None:
    waveform = speech_like(1.5, rate, channels)
    made = encoder(rate, channels)  # type: ignore[call-arg]
    for first in range(0, waveform.shape[1], 7001):
        made.feed(waveform[:, first : first + 7001])
    decoded, own_rate = soundfile.read(io.BytesIO(made.finish()), always_2d=True)
    assert decoded.shape[1] == channels
    assert len(decoded) / own_rate == pytest.approx(1.5, abs=0.01)
    # At the recording's samples, to the nearest, which high frequencies would not survive.
    places = np.round(np.arange(waveform.shape[1]) * own_rate / rate).astype(int)
    found = decoded[np.minimum(places, len(decoded) - 1)].T
    for channel in range(channels):
        assert np.corrcoef(found[channel], waveform[channel])[0, 1] > 0.9


@needs_pyav
def test_without_pyav_it_is_vorbis(monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(make_encoder(16000, 1), Opus)
    monkeypatch.setattr(sound, "is_there", lambda name: name != "av")
    assert isinstance(make_encoder(16000, 1), Vorbis)
