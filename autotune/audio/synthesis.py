"""Mixing one recording: turns from the embedded clips, pauses between them, background noise, loudness.

1. Clips are drawn without repetition (the deck is reshuffled when it is used up), each at a speed of 0.93–1.07, until
   the next one no longer fits; what remains to be spoken is filled by one clip sped to fit. No clip is ever cut: what
   is said in the recording, and where, is known to the end.
2. Pauses before, between and after them are drawn log-uniformly, then scaled inside the profile's range so that the
   recording has exactly the duration wanted. Where the range can't give it, duration and speech share win.
3. Noise fills the whole recording, pauses too: coloured, slowly breathing, with a babble of voices far below it.
   Modulated noise alone is no speech to a VAD; the clips are.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import soxr

from autotune.arrays import Float32
from autotune.audio.embedded import Clip, embedded_clips
from autotune.audio.profile import AudioProfile, PauseRange
from autotune.audio.reading import SAMPLE_RATE_HZ
from autotune.audio.recording import Turn

__all__ = ["SYNTHESIS_VERSION", "Drawn", "Mixed", "draw_clips", "fit_pauses", "mix_recording"]

SYNTHESIS_VERSION = 2
"""Raised with every change that changes the samples, so that cached workloads are made again."""

_BASE_RMS = 10 ** (-26 / 20)
_SPEED = (0.93, 1.07)
_FITTED_SPEED = (0.85, 1.18)
_FADE = 80  # samples, 5 ms
_BABBLE_VOICES = 8
_BABBLE_CLIPS = 24
_BABBLE_DB = -12.0


@dataclass(frozen=True)
class Mixed:
    """One recording: int16 [samples] at 16 kHz, and what is said where in it."""

    samples: np.ndarray[tuple[int], np.dtype[np.int16]]
    turns: tuple[Turn, ...]

    @property
    def text(self) -> str:
        """The turns' texts in order."""
        return "".join(turn.text for turn in self.turns)


@dataclass(frozen=True)
class Drawn:
    """A clip and how fast it is spoken (2: in half the time)."""

    clip: Clip
    speed: float

    @property
    def speech_s(self) -> float:
        """Seconds of speech at that speed."""
        return self.clip.speech_s / self.speed


def mix_recording(
    profile: AudioProfile, duration_s: float, rng: np.random.Generator, clips: Sequence[str] = ()
) -> Mixed:
    """One recording of exactly ``round(duration_s × 16000)`` samples.

    Args:
        profile: its share of speech, pauses and noise.
        duration_s: enough for the clips that are given.
        rng: what everything is drawn from.
        clips: ids of the embedded clips that it holds, in this order; empty: they are drawn as well.
    """
    if clips:
        by_id = {clip.id: clip for clip in embedded_clips()}
        drawn = [Drawn(by_id[clip], rng.uniform(*_SPEED)) for clip in clips]
    else:
        drawn = draw_clips(embedded_clips(), profile.speech_share * duration_s, rng)
    total = round(duration_s * SAMPLE_RATE_HZ)
    parts = _spoken_within(drawn, total)
    silence = total - sum(len(part) for part in parts)
    pauses = fit_pauses(rng, len(parts) + 1, silence / SAMPLE_RATE_HZ, profile.pause_s)
    speech = np.zeros(total, np.float32)
    turns = []
    position = 0.0
    for drawn_clip, part, pause in zip(drawn, parts, pauses, strict=False):
        position += pause * SAMPLE_RATE_HZ
        start = min(int(position), total - len(part))
        end = start + len(part)
        speech[start:end] += part * _decibels(rng.uniform(-2, 2))
        turns.append(
            Turn(
                clip=drawn_clip.clip.id,
                start_s=start / SAMPLE_RATE_HZ,
                end_s=end / SAMPLE_RATE_HZ,
                text=drawn_clip.clip.text,
            )
        )
        position += len(part)
    level = _BASE_RMS * _decibels(rng.uniform(-6, 6))
    snr_db = rng.uniform(profile.noise_snr_db.low, profile.noise_snr_db.high)
    mixture = speech * (level / _rms(np.concatenate(parts))) + _noise(total, rng) * (level * _decibels(-snr_db))
    mixture *= min(1.0, 0.97 / float(np.abs(mixture).max()))
    return Mixed(samples=np.round(mixture * 32767).astype(np.int16), turns=tuple(turns))


def fit_pauses(rng: np.random.Generator, count: int, total_s: float, limits: PauseRange) -> list[float]:
    """``count`` pauses in seconds that sum to ``total_s``: log-uniform draws, scaled within ``limits``.

    Outside of ``count × limits`` no such pauses exist: they are then in proportion to their draws.
    """
    drawn = np.exp(rng.uniform(math.log(limits.low), math.log(limits.high), count))
    if not count * limits.low < total_s < count * limits.high:
        return [float(value) for value in drawn * (max(total_s, 0.0) / drawn.sum())]
    # The clipped sum grows with the scale, from count × low to count × high: bisect its logarithm.
    below, above = math.log(limits.low / limits.high), math.log(limits.high / limits.low)
    for _ in range(60):
        middle = (below + above) / 2
        enough = np.clip(drawn * math.exp(middle), limits.low, limits.high).sum() >= total_s
        below, above = (below, middle) if enough else (middle, above)
    pauses = np.clip(drawn * math.exp(above), limits.low, limits.high)
    return [float(value) for value in pauses * (total_s / pauses.sum())]


def draw_clips(clips: Sequence[Clip], speech_s: float, rng: np.random.Generator) -> list[Drawn]:
    """At least one clip, whole, with ``speech_s`` seconds of speech together, in random order.

    The last one is sped by 0.85–1.18 to fill what the others leave. Where no clip can, the speech is a little shorter
    (a gap between the clips' lengths), or longer (``speech_s`` is less than the shortest clip gives).
    """
    least_s = min(clip.speech_s for clip in clips) / _FITTED_SPEED[1]
    drawn: list[Drawn] = []
    deck: list[Clip] = []
    remaining_s = speech_s
    while True:
        deck = deck or [clips[index] for index in rng.permutation(len(clips))]
        drawn_clip = Drawn(deck.pop(), rng.uniform(*_SPEED))
        if drawn_clip.speech_s > remaining_s - least_s:
            shorter = [clip for clip in clips if clip.speech_s / _SPEED[0] <= remaining_s - least_s]
            if not shorter or _fitting(clips, remaining_s):
                drawn.append(_last(clips, remaining_s, rng))
                return [drawn[index] for index in rng.permutation(len(drawn))]
            drawn_clip = replace(drawn_clip, clip=shorter[int(rng.integers(len(shorter)))])
        drawn.append(drawn_clip)
        remaining_s -= drawn_clip.speech_s


def _last(clips: Sequence[Clip], speech_s: float, rng: np.random.Generator) -> Drawn:
    """A recording's last clip: one that gives ``speech_s`` at a fitted speed, else the nearest, else the shortest."""
    fitting = _fitting(clips, speech_s)
    if fitting:
        clip = fitting[int(rng.integers(len(fitting)))]
        return Drawn(clip, clip.speech_s / speech_s)
    within = [clip for clip in clips if clip.speech_s / speech_s < _FITTED_SPEED[0]]
    if within:
        return Drawn(max(within, key=lambda clip: clip.speech_s), _FITTED_SPEED[0])
    return Drawn(min(clips, key=lambda clip: clip.speech_s), _FITTED_SPEED[1])


def _fitting(clips: Sequence[Clip], speech_s: float) -> list[Clip]:
    return [clip for clip in clips if _FITTED_SPEED[0] <= clip.speech_s / speech_s <= _FITTED_SPEED[1]]


def _spoken_within(drawn: Sequence[Drawn], total: int) -> list[Float32]:
    """The clips' samples, sped up further where together they would exceed ``total``.

    A clip is a little longer than its speech: at a high share they may not fit. A recording shorter than the shortest
    clip hastens it past what the draw allows: its text stays whole.
    """
    parts = [_spoken(drawn_clip) for drawn_clip in drawn]
    excess = sum(len(part) for part in parts) / total
    if excess > 1:
        parts = [_spoken(replace(drawn_clip, speed=drawn_clip.speed * excess * 1.01)) for drawn_clip in drawn]
    return parts


def _spoken(drawn_clip: Drawn) -> Float32:
    waveform = drawn_clip.clip.waveform
    if drawn_clip.speed != 1.0:
        waveform = soxr.resample(waveform, SAMPLE_RATE_HZ * drawn_clip.speed, SAMPLE_RATE_HZ, quality="HQ")
    spoken = np.array(waveform, np.float32)
    ramp = np.linspace(0, 1, _FADE, dtype=np.float32)
    spoken[:_FADE] *= ramp
    spoken[-_FADE:] *= ramp[::-1]
    return spoken


def _noise(count: int, rng: np.random.Generator) -> Float32:
    """Background of RMS 1: white noise through a one-pole low-pass, breathing by ±3 dB, over a quiet babble."""
    from scipy.signal import lfilter  # 0.4 s to import: only where a workload is really made

    pole = rng.uniform(0.6, 0.97)
    white = rng.standard_normal(count, dtype=np.float32)
    coloured: Float32 = np.asarray(lfilter([1 - pole], [1, -pole], white), np.float32)
    anchors = max(2, count // (2 * SAMPLE_RATE_HZ))
    breath = np.interp(np.linspace(0, anchors - 1, count), np.arange(anchors), rng.uniform(-3, 3, anchors))
    breathing = (coloured * (10 ** (breath / 20) / _rms(coloured))).astype(np.float32)
    mixture = np.asarray(breathing + _babble(count, rng) * _decibels(_BABBLE_DB), np.float32)
    return mixture / _rms(mixture)


def _babble(count: int, rng: np.random.Generator) -> Float32:
    """Several voices at once, played backwards so that no word of them can be transcribed; RMS 1.

    A few of the clips are enough: all of them would have to be decoded for every recording.
    """
    clips = embedded_clips()
    clips = clips[:: max(1, len(clips) // _BABBLE_CLIPS)][:_BABBLE_CLIPS]
    mixture = np.zeros(count, np.float32)
    for _ in range(_BABBLE_VOICES):
        order = rng.permutation(len(clips))
        voice = np.concatenate([clips[index].waveform[::-1] for index in order])
        mixture += np.resize(np.roll(voice, int(rng.integers(len(voice)))), count)
    return mixture / _rms(mixture)


def _rms(values: Float32) -> float:
    return max(float(np.sqrt(np.mean(np.square(values, dtype=np.float64)))), 1e-9)


def _decibels(value: float) -> float:
    return float(10 ** (value / 20))
