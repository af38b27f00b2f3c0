"""Simulated rooms with a microphone array: early reflections by image sources, the late tail as diffuse
noise.

Reference: J. B. Allen, D. A. Berkley, Image method for efficiently simulating small-room acoustics, JASA
1979; E. A. Lehmann, A. M. Johansson, Diffuse reverberation model for efficient image-source
simulation of room impulse responses, IEEE TASLP 2010.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from audiotool.data.rooms import Response

SPEED_OF_SOUND = 343.0  # metres a second
EARLY_SECONDS = 0.05  # image sources up to here, noise after
TAPS = 32  # of the fractional delays
MARGIN = 0.4  # metres from walls

Positions = NDArray[np.float64]


@dataclass(frozen=True)
class Room:
    """A shoebox room: sizes in metres, reverberation time in seconds."""

    size: Positions
    rt60_seconds: float

    @classmethod
    def draw(cls, rng: np.random.Generator, rt60_seconds: tuple[float, float]) -> Room:
        """Draw a room of 3 to 10 by 3 to 8 by 2.4 to 3.8 metres."""
        return cls(rng.uniform((3.0, 3.0, 2.4), (10.0, 8.0, 3.8)), rng.uniform(*rt60_seconds))

    def place(self, rng: np.random.Generator) -> Positions:
        """Draw a position (3,) in metres, away from the walls."""
        return rng.uniform(MARGIN, self.size - MARGIN)

    @property
    def reflection(self) -> float:
        """Reflection coefficient of a wall, an amplitude, by Sabine's formula."""
        x, y, z = self.size
        absorption = 0.161 * x * y * z / (self.rt60_seconds * 2 * (x * y + x * z + y * z))
        return float(np.sqrt(max(0.0, 1 - min(absorption, 1.0))))


def microphones(
    centre: Positions, channels: int, radius: float, geometry: Literal["circle", "line"], turn: float
) -> Positions:
    """Return positions (channels, 3) in metres: a horizontal circle, or a line of its diameter, turned by an
    angle."""
    if geometry == "circle":
        angles = turn + 2 * np.pi * np.arange(channels) / channels
        offsets = radius * np.stack([np.cos(angles), np.sin(angles), np.zeros(channels)], axis=1)
    else:
        along = np.linspace(-radius, radius, channels) if channels > 1 else np.zeros(1)
        offsets = along[:, None] * np.array([np.cos(turn), np.sin(turn), 0.0])
    return centre + offsets


def responses(
    rng: np.random.Generator, room: Room, source: Positions, array: Positions, sample_rate: int
) -> list[Response]:
    """Compute one response a microphone, on a common time axis and scale.

    The direct sound at the first microphone has amplitude 1. Every response has the first microphone's
    `direct` sample, so that cutting there aligns the array with the dry source and keeps the delays between
    microphones.
    """
    images, order = _images(room, source)
    distance = np.linalg.norm(images[:, None] - array, axis=2)  # (images, microphones)
    amplitude = room.reflection ** order[:, None] / distance
    length = int((EARLY_SECONDS + room.rt60_seconds) * sample_rate)
    delay = distance * (sample_rate / SPEED_OF_SOUND)
    taps = np.zeros((len(array), length + TAPS), np.float64)
    whole = np.floor(delay).astype(int)
    kept = whole.max(axis=1) < length
    # Fractional delay: a windowed sinc centred TAPS // 2 after the whole sample; all share that shift.
    n = np.arange(TAPS) - TAPS // 2
    position = n - (delay - whole)[kept][..., None]
    kernel = np.sinc(position) * np.cos(np.pi * position / TAPS / 1.1) ** 2
    rows = np.broadcast_to(np.arange(len(array))[:, None], kernel.shape)
    np.add.at(taps, (rows, whole[kept][..., None] + n + TAPS // 2), kernel * amplitude[kept][..., None])
    taps += _tail(rng, room, taps, sample_rate)
    direct = round(delay[0, 0]) + TAPS // 2
    scale = distance[0, 0]
    return [Response((t * scale).astype(np.float32), direct, "simulated") for t in taps]


def _images(room: Room, source: Positions) -> tuple[Positions, NDArray[np.int64]]:
    """Return the image sources within reach, the source itself first, and the number of reflections of
    each."""
    reach = np.ceil(EARLY_SECONDS * SPEED_OF_SOUND / (2 * room.size)).astype(int)
    grid = np.stack(
        np.meshgrid(*(np.arange(-r, r + 1) for r in reach), *([[0, 1]] * 3), indexing="ij"), axis=-1
    ).reshape(-1, 6)
    cell, mirrored = grid[:, :3], grid[:, 3:]
    images = 2 * cell * room.size + np.where(mirrored == 1, -source, source)
    order = np.abs(2 * cell - mirrored).sum(axis=1)
    near = np.linalg.norm(images - source, axis=1) <= EARLY_SECONDS * SPEED_OF_SOUND
    nearest = np.argsort(order[near], kind="stable")
    return images[near][nearest], order[near][nearest]


def _tail(rng: np.random.Generator, room: Room, early: Positions, sample_rate: int) -> Positions:
    """Return decaying noise that continues where the image sources end, at their level there."""
    length = early.shape[1]
    time = np.arange(length) / sample_rate
    begin = EARLY_SECONDS
    window = (time > 0.6 * begin) & (time <= begin)
    level = np.sqrt(np.mean(np.square(early[:, window])) + 1e-12)
    decay = 10 ** (-3 * np.maximum(time - 0.8 * begin, 0) / room.rt60_seconds)
    rise = np.clip((time - 0.6 * begin) / (0.4 * begin), 0, 1)
    return rng.standard_normal(early.shape) * (level * decay * rise)
