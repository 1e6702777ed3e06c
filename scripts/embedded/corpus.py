"""The corpus: held-out sentences first, then training sentences that are none of them, and how examples are mixed."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import repeat

import numpy as np
import soxr

from autotune.arrays import Float32
from autotune.audio.reading import SAMPLE_RATE_HZ
from scripts.embedded.grammar import sentence, spoken
from scripts.embedded.speech import HELD_OUT_VOICES, TRAINING_VOICES, Style, level, speak

__all__ = [
    "CLIP_SEED",
    "CLIP_VOICES",
    "Example",
    "Mixer",
    "Utterance",
    "clip_sentences",
    "held_out",
    "spoken_utterances",
    "training_set",
]

CLIP_SEED = 20261122
CLIPS = 320
CLIP_VOICES = (*TRAINING_VOICES[:4], *HELD_OUT_VOICES)
HELD_OUT = 300
LONGEST_S = 20.0

_NOISE_S = 90.0
_NOISES = 24
_NOISE_PIECE_S = 3.0


@dataclass(frozen=True)
class Utterance:
    """A sentence of the corpus, as one voice speaks it."""

    text: str
    """With punctuation."""
    samples: np.ndarray[tuple[int], np.dtype[np.int16]]

    @property
    def audio_s(self) -> float:
        """Length of the recording in seconds."""
        return len(self.samples) / SAMPLE_RATE_HZ


def clip_sentences() -> list[tuple[str, Style]]:
    """The sentences of the embedded clips, all different, with voice and style."""
    generator = random.Random(CLIP_SEED)
    texts: dict[str, str] = {}
    while len(texts) < CLIPS:
        text = sentence(generator)
        if len(spoken(text)) <= 45:
            texts.setdefault(spoken(text), text)
    ordered = sorted(texts.values(), key=lambda text: (len(spoken(text)), text))
    clips = [(text, Style.draw(CLIP_VOICES[i % len(CLIP_VOICES)], generator)) for i, text in enumerate(ordered)]
    generator.shuffle(clips)  # every voice has all lengths, and so has every stretch of clips
    return clips


def held_out(voices: Sequence[str], seed: int) -> list[tuple[str, Style]]:
    """Sentences to test with, in these voices; none is a clip's."""
    generator, known = random.Random(seed), {spoken(text) for text, _ in clip_sentences()}
    found: dict[str, tuple[str, Style]] = {}
    while len(found) < HELD_OUT:
        text = sentence(generator)
        if spoken(text) not in known:
            found.setdefault(spoken(text), (text, Style.draw(generator.choice(voices), generator)))
    return list(found.values())


def training_set(seed: int, hours: float, excluded: set[str], *, threads: int) -> list[Utterance]:
    """About ``hours`` of speech in the training voices; no sentence is in ``excluded`` (without punctuation)."""
    generator = random.Random(seed)
    utterances: list[Utterance] = []
    total_s = 0.0
    while total_s < hours * 3600:
        batch = [sentence(generator) for _ in range(500)]
        asked = [
            (text, Style.draw(generator.choice(TRAINING_VOICES), generator), generator.uniform(0.92, 1.08))
            for text in batch
            if spoken(text) not in excluded
        ]
        for made in spoken_utterances(asked, threads=threads):
            utterances.append(made)
            total_s += made.audio_s
    return utterances


def spoken_utterances(asked: Sequence[tuple[str, Style, float]], *, threads: int) -> Iterator[Utterance]:
    """Text, style, and the factor by which it is resampled: that moves formants, as another speaker's do."""

    def make(text: str, style: Style, factor: float) -> Utterance:
        waveform = speak(text, style)
        if factor != 1.0:
            waveform = soxr.resample(waveform, SAMPLE_RATE_HZ * factor, SAMPLE_RATE_HZ, quality="MQ")
        return Utterance(text, np.round(np.clip(waveform, -1, 1) * 32767).astype(np.int16))

    with ThreadPoolExecutor(threads) as pool:
        yield from pool.map(make, *zip(*asked, strict=True))


@dataclass(frozen=True)
class Example:
    """What one training example is made of."""

    utterances: tuple[int, ...]
    """Indices; none is a recording without speech."""
    pauses_s: tuple[float, ...]
    """Before, between and after them."""
    audio_s: float


class Mixer:
    """Utterances → recordings with silence before, between and after them, gain and background noise."""

    def __init__(self, utterances: Sequence[Utterance], seed: int) -> None:
        self.utterances = utterances
        self._random = np.random.default_rng(seed)
        self._noises = [self._noise() for _ in range(_NOISES)]

    def plan(self) -> list[Example]:
        """Every utterance once, alone or joined with others."""
        order = list(self._random.permutation(len(self.utterances)))
        examples = []
        while order:
            chosen = [order.pop()]
            if self._random.random() < 0.4:
                limit = float(np.exp(self._random.uniform(math.log(6), math.log(LONGEST_S))))
                while order and sum(self.utterances[i].audio_s for i in chosen) + 3 < limit:
                    chosen.append(order.pop())
            examples.append(self.example(chosen))
            if self._random.random() < 0.03:
                examples.append(self.example([]))
        return examples

    def mix(self, example: Example) -> Float32:
        """The recording: float32 [samples]."""
        samples = np.zeros(round(example.audio_s * SAMPLE_RATE_HZ), np.float32)
        position = 0.0
        for pause, index in zip(example.pauses_s, example.utterances, strict=False):
            position += pause * SAMPLE_RATE_HZ
            spoken_samples = self.utterances[index].samples
            start = min(round(position), len(samples) - len(spoken_samples))
            gain = _decibels(self._random.uniform(-3, 3)) / 32768
            samples[start : start + len(spoken_samples)] += spoken_samples * np.float32(gain)
            position += len(spoken_samples)
        noise = self._noises[self._random.integers(len(self._noises))]
        begin = self._random.integers(len(noise) - len(samples))
        snr_db = self._random.uniform(8, 45)
        samples += noise[begin : begin + len(samples)] * np.float32(_decibels(-23 - snr_db))
        samples *= np.float32(_decibels(self._random.uniform(-15, 6)))
        return np.clip(samples, -1, 1, out=samples)

    def example(self, chosen: list[int]) -> Example:
        """These utterances with pauses before, between and after them; none is a stretch of noise."""
        # Edges: often nothing at all, as where a window or a VAD has cut.
        edges = self._random.uniform(0, 0.8, 2) * (self._random.random(2) < 0.7)
        between = np.exp(self._random.uniform(math.log(0.05), math.log(2.5), max(len(chosen) - 1, 0)))
        pauses = [edges[0], *between, edges[1]] if chosen else [self._random.uniform(0.3, 4)]
        total = sum(pauses) + sum(self.utterances[index].audio_s for index in chosen)
        return Example(tuple(chosen), tuple(float(pause) for pause in pauses), float(total) + 1 / SAMPLE_RATE_HZ)

    def _noise(self) -> Float32:
        """Background of RMS 1: coloured noise that breathes, over a babble of voices played backwards."""
        from scipy.signal import lfilter

        count = round(_NOISE_S * SAMPLE_RATE_HZ)
        pole = self._random.uniform(0, 0.97)
        white = self._random.standard_normal(count, dtype=np.float32)
        coloured: Float32 = np.asarray(lfilter([1 - pole], [1, -pole], white), np.float32)
        breath = self._random.uniform(-4, 4, int(_NOISE_S))
        coloured *= np.interp(np.linspace(0, len(breath) - 1, count), np.arange(len(breath)), 10 ** (breath / 20))
        babble = np.zeros(count, np.float32)
        for _ in repeat(None, 6):
            voices = self._random.integers(len(self.utterances), size=round(_NOISE_S / _NOISE_PIECE_S) + 1)
            line = np.concatenate([self.utterances[index].samples[::-1] for index in voices]).astype(np.float32)
            babble += np.resize(line, count)
        share = _decibels(self._random.uniform(-25, -6))
        mixture = coloured / level(coloured) + babble * np.float32(share / level(babble))
        return np.asarray(mixture / level(mixture), np.float32)


def _decibels(value: float) -> float:
    return float(10 ** (value / 20))
