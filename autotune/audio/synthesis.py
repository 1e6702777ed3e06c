"""Mixing one recording: turns from the embedded clips, pauses between them, background noise, loudness.

1. Clips are drawn without repetition (the deck is reshuffled when it is used up), each at a speed of 0.93–1.07, until
   the speech wanted remains to be filled by one clip, which is then chosen and sped to fit.
2. Pauses before, between and after them are drawn log-uniformly, then scaled inside the profile's range so that the
   recording has exactly the duration wanted. Where the range can't give it, duration and speech share win.
3. Noise fills the whole recording, pauses too: coloured, slowly breathing, with a babble of voices far below it.
   Modulated noise alone is no speech to a VAD; the clips are.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import soxr

from autotune.audio.embedded import Clip, embedded_clips
from autotune.audio.profile import AudioProfile, PauseRange
from autotune.audio.reading import SAMPLE_RATE_HZ, Float32

__all__ = ["SYNTHESIS_VERSION", "Mixed", "fit_pauses", "mix_recording"]

SYNTHESIS_VERSION = 1
"""Goes up with every change that changes the samples: cached workloads are then made again."""

_BASE_RMS = 10 ** (-26 / 20)
_SPEED = (0.93, 1.07)
_FITTED_SPEED = (0.85, 1.18)
_MAX_SPEED = 1.3
_FADE = 80  # samples, 5 ms
_BABBLE_VOICES = 8
_BABBLE_DB = -12.0


@dataclass(frozen=True)
class Mixed:
    """One recording: int16 [samples] at 16 kHz, and what is said in it (None where a clip had to be cut)."""

    samples: np.ndarray[tuple[int], np.dtype[np.int16]]
    text: str | None


@dataclass(frozen=True)
class _Turn:
    clip: Clip
    speed: float
    cut_s: float | None = None


def mix_recording(profile: AudioProfile, duration_s: float, rng: np.random.Generator) -> Mixed:
    """One recording of exactly ``round(duration_s × 16000)`` samples, drawn from ``rng``."""
    turns = _draw_turns(embedded_clips(), profile.speech_share * duration_s, rng)
    total = round(duration_s * SAMPLE_RATE_HZ)
    parts = [_spoken(turn) for turn in turns]
    excess = sum(len(part) for part in parts) / total
    if excess > 1:  # a clip is a little longer than its speech: at a high share they may not fit
        parts = [_spoken(replace(turn, speed=turn.speed * excess * 1.01)) for turn in turns]
    silence = total - sum(len(part) for part in parts)
    pauses = fit_pauses(rng, len(parts) + 1, silence / SAMPLE_RATE_HZ, profile.pause_s)
    speech = np.zeros(total, np.float32)
    position = 0.0
    for pause, part in zip(pauses, parts, strict=False):
        position += pause * SAMPLE_RATE_HZ
        start = min(round(position), total - len(part))
        speech[start : start + len(part)] += part * _decibels(rng.uniform(-2, 2))
        position += len(part)
    level = _BASE_RMS * _decibels(rng.uniform(-6, 6))
    snr_db = rng.uniform(profile.noise_snr_db.low, profile.noise_snr_db.high)
    mixture = speech * (level / _rms(np.concatenate(parts))) + _noise(total, rng) * (level * _decibels(-snr_db))
    mixture *= min(1.0, 0.97 / float(np.abs(mixture).max()))
    text = None if any(turn.cut_s is not None for turn in turns) else "".join(turn.clip.text for turn in turns)
    return Mixed(samples=np.round(mixture * 32767).astype(np.int16), text=text)


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


def _draw_turns(clips: tuple[Clip, ...], speech_s: float, rng: np.random.Generator) -> list[_Turn]:
    shortest = min(clip.speech_s for clip in clips)
    longest = max(clip.speech_s for clip in clips)
    turns: list[_Turn] = []
    deck: list[Clip] = []
    remaining = speech_s
    while remaining > longest:
        deck = deck or [clips[index] for index in rng.permutation(len(clips))]
        turn = _Turn(deck.pop(), rng.uniform(*_SPEED))
        if remaining - turn.clip.speech_s / turn.speed >= shortest:
            turns.append(turn)
            remaining -= turn.clip.speech_s / turn.speed
    turns.append(_last_turn(clips, remaining, rng))
    return [turns[index] for index in rng.permutation(len(turns))]


def _last_turn(clips: tuple[Clip, ...], speech_s: float, rng: np.random.Generator) -> _Turn:
    fitting = [clip for clip in clips if _FITTED_SPEED[0] <= clip.speech_s / speech_s <= _FITTED_SPEED[1]]
    if fitting:
        clip = fitting[int(rng.integers(len(fitting)))]
    else:
        clip = min(clips, key=lambda clip: abs(math.log(clip.speech_s / speech_s)))
    turn = _Turn(clip, clip.speech_s / speech_s)
    return turn if turn.speed <= _MAX_SPEED else replace(turn, speed=_MAX_SPEED, cut_s=speech_s)


def _spoken(turn: _Turn) -> Float32:
    waveform = turn.clip.waveform
    if turn.speed != 1.0:
        waveform = soxr.resample(waveform, SAMPLE_RATE_HZ * turn.speed, SAMPLE_RATE_HZ, quality="HQ")
    if turn.cut_s is not None:
        waveform = waveform[: max(round(turn.cut_s * SAMPLE_RATE_HZ), 2 * _FADE)]
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
    """Several voices at once, played backwards so that no word of them can be transcribed; RMS 1."""
    clips = embedded_clips()
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
