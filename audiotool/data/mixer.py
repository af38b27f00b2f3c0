"""Mix a noisy recording from speech tracks, noise tracks, rooms and levels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from audiotool.data import augment
from audiotool.data.augment import chance, sometimes
from audiotool.data.clips import Samples
from audiotool.data.config import AudioConfig, AugmentationConfig, DataConfig
from audiotool.data.levels import active_rms, amplitude, decibels
from audiotool.data.material import Material, Pool
from audiotool.data.synthetic import GENERATORS
from audiotool.errors import RecipeError

PEAK = 0.99  # of full scale, never exceeded by what is not meant to clip
EDGE_SECONDS = 0.005  # fades where a recording is cut or repeated
NOISE_ATTEMPTS = 10  # parts of noises drawn for one noise, until one is not silent

Facts = dict[str, Any]


@dataclass
class Track:
    """Samples and their source; `bandwidth_hz` is the highest frequency of the content, inf if unknown."""

    samples: Samples
    group: str = ""
    files: list[str] = field(default_factory=list)
    bandwidth_hz: float = math.inf


class Mixer:
    """Draws tracks from a split's material and mixes them.

    Args:
        material: the recordings of a split.
        data, audio: the recipe's sections.
        training: True uses `data.mixing` and augmentation, False `data.evaluation` alone.
    """

    def __init__(self, material: Material, data: DataConfig, audio: AudioConfig, training: bool) -> None:
        self.material = material
        self.sample_rate = audio.sample_rate
        self.mixing = data.mixing if training else data.evaluation
        self.augmentation: AugmentationConfig | None = data.augmentation if training else None

    # Speech

    def speech(
        self,
        rng: np.random.Generator,
        frames: int | None,
        avoid: Sequence[str] = (),
        group: str = "",
        speed: float | None = None,
        formants: float | None = None,
        avoid_files: Sequence[str] = (),
    ) -> Track:
        """Draw speech (frames,) of one speaker: a part of a recording, or several recordings and pauses.

        Args:
            frames: None takes one whole recording.
            avoid: speakers that are not drawn.
            group: the speaker; "" draws one.
            speed: factor of speed and pitch; None draws it.
            formants: factor of the frequencies of the voice's resonances; None draws it.
            avoid_files: recordings that are not drawn; the speaker must have others.
        """
        pool = self._pool(self.material.speech, "speech")
        group = group or pool.draw_group(rng, avoid)
        speed = self.draw_speech_speed(rng) if speed is None else speed
        length = None if frames is None else augment.source_frames(frames, speed)
        samples, files, bandwidth_hz = self._line_up(rng, pool, group, length, avoid_files)
        frames = max(1, round(len(samples) / speed)) if frames is None else frames
        samples = augment.change_speed(samples, speed, frames)
        formants = self.draw_formants(rng) if formants is None else formants
        if formants != 1:
            samples = augment.change_formants(samples, formants, self.sample_rate)
        return Track(self._equalised(rng, samples), group, files, bandwidth_hz * speed)

    def _line_up(
        self,
        rng: np.random.Generator,
        pool: Pool,
        group: str,
        frames: int | None,
        avoid_files: Sequence[str] = (),
    ) -> tuple[Samples, list[str], float]:
        index = pool.draw(rng, group, avoid_files)
        length = int(pool.clips.lengths[index])
        samples = np.zeros(length if frames is None else frames, np.float32)
        start = int(rng.integers(length - len(samples) + 1)) if length > len(samples) else 0
        files, position, bandwidth_hz = [], 0, math.inf
        while True:
            piece = pool.clips.read(index, start, len(samples) - position)
            samples[position : position + len(piece)] = piece
            files.append(str(pool.entries[index].path))
            bandwidth_hz = min(bandwidth_hz, pool.entries[index].bandwidth_hz or math.inf)
            position += len(piece) + int(rng.uniform(0.1, 0.6) * self.sample_rate)
            if position >= len(samples):
                return samples, files, bandwidth_hz
            index, start = pool.draw(rng, group, avoid_files), 0

    def draw_speech_speed(self, rng: np.random.Generator) -> float:
        """Draw a speaker's factor of speed and pitch; 1 outside training."""
        a = self.augmentation
        return augment.draw_speed(rng, a.speed) if a and chance(rng, a.speed_probability) else 1.0

    def draw_formants(self, rng: np.random.Generator) -> float:
        """Draw the factor of a speaker's resonances; 1 outside training."""
        a = self.augmentation
        return rng.uniform(*a.formants) if a and sometimes(rng, a.formant_probability) else 1.0

    def _equalised(self, rng: np.random.Generator, samples: Samples) -> Samples:
        a = self.augmentation
        if not a or not chance(rng, a.equalisation_probability):
            return samples
        return augment.filtered(samples, augment.equaliser(rng, self.sample_rate, a.equalisation_db))

    def islands(self, rng: np.random.Generator, speech: Samples) -> tuple[Samples, bool]:
        """Return the speech as it is, or short pieces of it between digital silence; and whether to add no
        noise.

        A network that learns to remove calls and single notes may remove single letters and words too, unless
        it is trained with such speech.
        """
        mixing = self.mixing
        if not sometimes(rng, mixing.island_probability):
            return speech, False
        edge = int(EDGE_SECONDS * self.sample_rate)
        gains, position = np.zeros(len(speech), np.float32), 0
        while position < len(speech):
            begin = position + int(rng.uniform(*mixing.island_pause_seconds) * self.sample_rate)
            position = begin + int(rng.uniform(*mixing.island_seconds) * self.sample_rate)
            piece = gains[begin:position]
            piece[:] = augment.fades(len(piece), edge)
        return speech * gains, chance(rng, 0.5)

    def in_room(self, rng: np.random.Generator, speech: Samples) -> tuple[Samples, Samples, str]:
        """Return the reverberant speech, the model's target for it, and the room's name ("" for none)."""
        rooms, mixing = self.material.rooms, self.mixing
        if rooms is None or not chance(rng, mixing.reverberation_probability):
            return speech, speech, ""
        room = rooms.draw(rng)
        reverberant, target = rooms.place(speech, room, mixing.reverberation_target, mixing.early_ms)
        return reverberant, target, room.name

    # Noise

    def noise(self, rng: np.random.Generator, frames: int, avoid: Sequence[str] = ()) -> Track:
        """Draw noise (frames,) of active level 1: one or several noises at once, each with its own level.

        Where a part of a noise is silent another is drawn. If all are, the result is zero and names no files.

        Args:
            avoid: speakers that are not drawn for babble.
        """
        total, files, kinds = np.zeros(frames, np.float32), [], []
        for i in range(int(rng.integers(self.mixing.noises[0], self.mixing.noises[1] + 1))):
            for _ in range(NOISE_ATTEMPTS):
                track = self._one_noise(rng, frames, avoid)
                level = active_rms(track.samples, self.sample_rate)
                if level > 0:
                    break
            # The first is loudest; others lie up to 15 dB under it.
            gain = 1.0 if i == 0 else amplitude(-rng.uniform(0, 15))
            if level > 0:
                total += track.samples * np.float32(gain / level)
                files += track.files
                kinds.append(track.group)
        level = active_rms(total, self.sample_rate)
        return Track(total / np.float32(level) if level > 0 else total, "+".join(kinds), files)

    def _one_noise(self, rng: np.random.Generator, frames: int, avoid: Sequence[str]) -> Track:
        mixing, choice = self.mixing, rng.random()
        if choice < mixing.synthetic.probability or (
            self.material.noise is None and mixing.synthetic.probability
        ):
            kind = str(rng.choice(mixing.synthetic.kinds))
            return Track(GENERATORS[kind](rng, frames, self.sample_rate), f"synthetic {kind}")
        if choice - mixing.synthetic.probability < mixing.babble_probability and self._can_babble():
            return self._babble(rng, frames, avoid)
        track = self._recorded(rng, frames)
        track.samples = self._in_some_room(rng, self._equalised(rng, track.samples))
        if mixing.envelope_db and chance(rng, 0.5):
            reach = rng.uniform(0, mixing.envelope_db)
            track.samples = track.samples * augment.envelope(rng, frames, self.sample_rate, reach)
        return track

    def _in_some_room(self, rng: np.random.Generator, noise: Samples) -> Samples:
        rooms = self.material.rooms
        if rooms is None or not sometimes(rng, self.mixing.noise_reverberation_probability):
            return noise
        return rooms.place(noise, rooms.draw(rng), "reverberant", 0)[0]

    def _recorded(self, rng: np.random.Generator, frames: int) -> Track:
        pool = self._pool(self.material.noise, "noise")
        group = pool.draw_group(rng)
        index = pool.draw(rng, group)
        a = self.augmentation
        speed = augment.draw_speed(rng, a.noise_speed) if a and chance(rng, 0.5) else 1.0
        samples = self._repeated(rng, pool, index, augment.source_frames(frames, speed))
        samples = augment.change_speed(samples, speed, frames)
        return Track(samples, group, [str(pool.entries[index].path)])

    def _repeated(self, rng: np.random.Generator, pool: Pool, index: int, frames: int) -> Samples:
        length = int(pool.clips.lengths[index])
        if length >= frames:
            return pool.clips.read(index, int(rng.integers(length - frames + 1)), frames)
        clip = pool.clips.read(index, 0, length)
        edge = augment.fades(len(clip), int(EDGE_SECONDS * self.sample_rate))
        clip = clip * edge
        # Half of the short sounds are repeated at once, half after pauses, like events.
        pause = rng.uniform(0.1, 1.5) * self.sample_rate if chance(rng, 0.5) else 0.0
        samples, position = np.zeros(frames, np.float32), -int(rng.integers(length))
        while position < frames:
            begin, end = max(position, 0), min(position + length, frames)
            if end > begin:
                samples[begin:end] += clip[begin - position : end - position]
            position += length + int(pause * rng.uniform(0.5, 1.5))
        return samples

    def _can_babble(self) -> bool:
        return self.material.speech is not None and len(self.material.speech.groups) > 2

    def _babble(self, rng: np.random.Generator, frames: int, avoid: Sequence[str]) -> Track:
        pool = self._pool(self.material.speech, "speech")
        voices = int(rng.integers(self.mixing.babble_voices[0], self.mixing.babble_voices[1] + 1))
        total, files = np.zeros(frames, np.float32), []
        for _ in range(voices):
            samples, names, _ = self._line_up(rng, pool, pool.draw_group(rng, avoid), frames)
            level = active_rms(samples, self.sample_rate)
            if level > 0:
                total += samples * np.float32(amplitude(rng.uniform(-6, 0)) / level)
                files += names
        if self.material.rooms:
            room = self.material.rooms.draw(rng)
            total = self.material.rooms.place(total, room, "reverberant", 0)[0]
        return Track(total, "babble", files)

    # Mixtures

    def add_noise(
        self, rng: np.random.Generator, speech: Samples, avoid: Sequence[str] = ()
    ) -> tuple[Samples, Facts]:
        """Return the noise to add to speech, at an SNR (of active levels) that is drawn, and its facts.

        For silent speech the noise has an active level of 1, which `set_level` then changes.
        """
        snr_db = rng.uniform(*self.mixing.snr_db)
        track = self.noise(rng, len(speech), avoid)
        level = active_rms(speech, self.sample_rate)
        gain = level * amplitude(-snr_db) if level > 0 else 1.0
        return track.samples * np.float32(gain), {
            "snr_db": round(snr_db, 2) if level > 0 and track.samples.any() else None,
            "noise": track.group,
            "noise_files": track.files,
        }

    def lead_in(
        self, rng: np.random.Generator, noise: Samples, *speech: Samples
    ) -> tuple[Samples, list[Samples]]:
        """Begin a recording with quieter noise or digital silence, without speech."""
        mixing = self.mixing
        if not sometimes(rng, mixing.lead_in_probability):
            return noise, list(speech)
        begin = int(rng.uniform(*mixing.lead_in_seconds) * self.sample_rate)
        reached = augment.rise(len(noise), begin, int(EDGE_SECONDS * self.sample_rate))
        silent = chance(rng, 1 / 3)
        quiet = np.float32(0.0 if silent else amplitude(-rng.uniform(*mixing.lead_in_db)))
        return noise * (quiet + (1 - quiet) * reached), [s * reached for s in speech]

    def level_jump(self, rng: np.random.Generator, *waveforms: Samples) -> list[Samples]:
        """Change the level of all signals by the same gain at one moment, as by a turned gain
        control."""
        mixing, frames = self.mixing, len(waveforms[0])
        if not sometimes(rng, mixing.level_jump_probability):
            return list(waveforms)
        after = augment.rise(frames, int(rng.integers(frames)), int(EDGE_SECONDS * self.sample_rate))
        gain = np.float32(amplitude(rng.uniform(-mixing.level_jump_db, mixing.level_jump_db)))
        return [x * (1 + (gain - 1) * after) for x in waveforms]

    def set_level(
        self, rng: np.random.Generator, mixture: Samples, *others: Samples
    ) -> tuple[list[Samples], Facts]:
        """Scale all signals by one gain, so that the mixture has a level that is drawn; peaks stay below full
        scale."""
        level = active_rms(mixture, self.sample_rate)
        wanted = amplitude(rng.uniform(*self.mixing.level_dbfs))
        peak = max([float(np.abs(x).max()) for x in (mixture, *others) if x.size], default=0.0)
        gain = wanted / level if level > 0 else 1.0
        if peak * gain > PEAK:
            gain = PEAK / peak
        return [x * np.float32(gain) for x in (mixture, *others)], {
            "level_dbfs": round(decibels(level * gain), 2) if level > 0 else None
        }

    def limit_band(
        self, rng: np.random.Generator, *waveforms: Samples, bandwidth_hz: float = math.inf
    ) -> list[Samples]:
        """Pass all signals through one random band limit or none, so that no model learns to restore a band.

        With `match_bandwidth` the noise is limited to the speech's bandwidth too, so that the model does not
        learn from recordings of narrow band that the band above holds no speech.

        Args:
            bandwidth_hz: highest frequency of the speech.
        """
        a = self.augmentation
        if a and a.match_bandwidth and bandwidth_hz < augment.WIDEST * self.sample_rate:
            sections = augment.low_pass(bandwidth_hz, self.sample_rate)
            waveforms = tuple(augment.filtered(x, sections) for x in waveforms)
        if not a or not chance(rng, a.band_limit_probability):
            return list(waveforms)
        sections = augment.band_limit(rng, self.sample_rate, a)
        return [augment.filtered(x, sections) for x in waveforms]

    def degraded(self, rng: np.random.Generator, noisy: Samples) -> Samples:
        """Clip and code a recording and drop packets of it, each with its probability."""
        a = self.augmentation
        if not a or not noisy.any():
            return noisy
        if chance(rng, a.clipping_probability):
            noisy = augment.clip(rng, noisy, a.clipping_db)
        if chance(rng, a.codec_probability):
            noisy = augment.codec(rng, noisy, self.sample_rate)
        if chance(rng, a.packet_loss_probability):
            noisy = augment.packet_loss(rng, noisy, self.sample_rate, a.packet_loss_ms)
        return noisy

    @staticmethod
    def _pool(pool: Pool | None, key: str) -> Pool:
        if pool is None:
            raise RecipeError(f"data.{key} is empty, and the recipe asks for it: name a manifest or a folder")
        return pool
