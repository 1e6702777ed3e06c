"""Training FunASR's SenseVoiceSmall with CTC on the CPU: features, batches, loss, and a test by error rate."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jiwer
import numpy as np
import torch
import torch.nn.functional as F

from autotune.arrays import Float32
from autotune.recognizer.frontend import Frontend, padded
from scripts.embedded.corpus import Example, Mixer
from scripts.embedded.grammar import spoken

__all__ = ["Batch", "Settings", "Trainer", "error_rate"]

PROMPTS = 4
LANGUAGES = {"auto": 0, "zh": 3}
TEXT_NORMS = {"<|withitn|>": 14, "<|woitn|>": 15}
EVENTS = (1, 2)


@dataclass(frozen=True)
class Settings:
    """How it is trained."""

    epochs: int
    batch_s: float = 120.0
    """Padded seconds of audio a step."""
    peak_rate: float = 2e-3
    warmup_share: float = 0.08
    weight_decay: float = 0.01
    tag_weight: float = 0.1
    average_decay: float = 0.998
    """Of the moving average of the weights, which is what is kept."""
    bfloat16: bool = True


@dataclass(frozen=True)
class Batch:
    """features float32 [batch, 4 + frames, dim] behind the prompts' places; targets int64, joined."""

    features: torch.Tensor
    lengths: torch.Tensor
    targets: torch.Tensor
    target_lengths: torch.Tensor
    prompts: torch.Tensor
    tags: torch.Tensor


class Trainer:
    """Owns the network, its optimiser and the moving average of its weights."""

    def __init__(
        self, network: Any, frontend: Frontend, ids: Mapping[str, int], mixer: Mixer, settings: Settings, seed: int
    ) -> None:
        self.network, self._frontend, self._ids, self._mixer, self._settings = network, frontend, ids, mixer, settings
        self._random = np.random.default_rng(seed)
        self._optimizer = torch.optim.AdamW(
            network.parameters(), lr=settings.peak_rate, betas=(0.9, 0.98), weight_decay=settings.weight_decay
        )
        self._average = {name: value.detach().clone() for name, value in network.state_dict().items()}
        self._steps = 0

    def train(self, on_step: Callable[[float, float, float], None]) -> Iterator[int]:
        """Yields each epoch's number when it is done; ``on_step`` gets share done, CTC loss and seconds of audio."""
        per_epoch = len(self._plan())
        total = per_epoch * self._settings.epochs
        for epoch in range(self._settings.epochs):
            batches = self._plan()
            self.network.train()
            for position, examples in enumerate(batches):
                rate = self._rate(min((epoch + position / len(batches)) * per_epoch / total, 1.0))
                for group in self._optimizer.param_groups:
                    group["lr"] = rate
                loss = self._step(self._batch(examples))
                on_step((epoch + (position + 1) / len(batches)) / self._settings.epochs, loss, _audio_s(examples))
            yield epoch

    def averaged(self) -> dict[str, torch.Tensor]:
        """The moving average of the weights."""
        return {name: value.clone() for name, value in self._average.items()}

    def _plan(self) -> list[list[Example]]:
        """An epoch's batches of like lengths, in random order."""
        examples = sorted(self._mixer.plan(), key=lambda example: example.audio_s)
        batches: list[list[Example]] = [[]]
        for example in examples:
            if (len(batches[-1]) + 1) * example.audio_s > self._settings.batch_s:
                batches.append([])
            batches[-1].append(example)
        return [batches[index] for index in self._random.permutation(len(batches))]

    def _rate(self, done: float) -> float:
        settings = self._settings
        if done < settings.warmup_share:
            return settings.peak_rate * (done / settings.warmup_share + 1e-3)
        rest = (done - settings.warmup_share) / (1 - settings.warmup_share)
        return settings.peak_rate * (0.5 * (1 + math.cos(math.pi * rest)) + 1e-3)

    def _batch(self, examples: Sequence[Example]) -> Batch:
        features, lengths = padded([self._frontend.features(self._mixer.mix(example)) for example in examples])
        for row, length in zip(features, lengths, strict=True):
            self._mask(row[:length])
        texts = ["".join(spoken(self._mixer.utterances[i].text) for i in one.utterances) for one in examples]
        targets = [torch.tensor([self._ids[letter] for letter in text], dtype=torch.long) for text in texts]
        norms = [list(TEXT_NORMS)[int(draw)] for draw in self._random.integers(2, size=len(texts))]
        languages = [list(LANGUAGES.values())[int(draw)] for draw in self._random.random(len(texts)) < 0.3]
        prompts = [[lang, *EVENTS, TEXT_NORMS[norm]] for lang, norm in zip(languages, norms, strict=True)]
        heard = {True: ("<|zh|>", "<|NEUTRAL|>", "<|Speech|>"), False: ("<|nospeech|>", "<|EMO_UNKNOWN|>", "<|BGM|>")}
        tags = [[*(self._ids[tag] for tag in heard[bool(t)]), self._ids[n]] for t, n in zip(texts, norms, strict=True)]
        return Batch(
            features=torch.from_numpy(features),
            lengths=torch.from_numpy(lengths) + PROMPTS,
            targets=torch.cat(targets),
            target_lengths=torch.tensor([len(target) for target in targets]),
            prompts=torch.tensor(prompts),
            tags=torch.tensor(tags),
        )

    def _mask(self, row: Float32) -> None:
        """SpecAugment on the stacked features [frames, 7 × 80] of one example, in place."""
        mels = row.reshape(len(row), -1, self._frontend.config.n_mels)
        width = int(self._random.integers(0, 11))
        start = int(self._random.integers(0, mels.shape[2] - width))
        mels[:, :, start : start + width] = 0
        for _ in range(len(row) // 40):
            at = int(self._random.integers(0, len(row) - 2))
            row[at : at + int(self._random.integers(0, 3))] = 0

    def _step(self, batch: Batch) -> float:
        with torch.autocast("cpu", torch.bfloat16, enabled=self._settings.bfloat16):
            logits = logits_of(self.network, batch.features, batch.lengths, batch.prompts)
        logits = logits.float()
        ctc = F.ctc_loss(
            logits[:, PROMPTS:].log_softmax(-1).transpose(0, 1),
            batch.targets,
            batch.lengths.long() - PROMPTS,
            batch.target_lengths,
            reduction="sum",
            zero_infinity=True,
        ) / max(int(batch.target_lengths.sum()), 1)
        tags = F.cross_entropy(logits[:, :PROMPTS].reshape(-1, logits.shape[-1]), batch.tags.reshape(-1))
        self._optimizer.zero_grad(set_to_none=True)
        (ctc + self._settings.tag_weight * tags).backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 5.0)
        self._optimizer.step()
        self._steps += 1
        decay = min(self._settings.average_decay, (1 + self._steps) / (10 + self._steps))
        with torch.no_grad():
            for name, value in self.network.state_dict().items():
                self._average[name].lerp_(value, 1 - decay)
        return float(ctc.detach())


def logits_of(network: Any, features: torch.Tensor, lengths: torch.Tensor, prompts: torch.Tensor) -> torch.Tensor:
    """[batch, 4 + frames, vocabulary] as FunASR's own ``encode`` and inference put prompts and speech together."""
    joined = torch.cat((network.embed(prompts), features), dim=1)
    encoded, _ = network.encoder(joined, lengths)
    return network.ctc.ctc_lo(encoded)  # type: ignore[no-any-return]


def error_rate(
    network: Any, frontend: Frontend, characters: Sequence[str], test: Sequence[tuple[str, Float32]]
) -> float:
    """Character error rate over (text, samples) at batch 1, greedy CTC; tokens outside ``characters`` are ignored."""
    network.eval()
    references, hypotheses = [], []
    with torch.inference_mode():
        for text, samples in test:
            features, lengths = padded([frontend.features(samples)])
            prompts = torch.tensor([[LANGUAGES["auto"], *EVENTS, TEXT_NORMS["<|woitn|>"]]])
            logits = logits_of(network, torch.from_numpy(features), torch.from_numpy(lengths) + PROMPTS, prompts)
            best = torch.unique_consecutive(logits[0, PROMPTS:].argmax(-1)).tolist()
            references.append(spoken(text))
            hypotheses.append("".join(characters[token] for token in best if characters[token]))
    return float(jiwer.cer(references, hypotheses))


def _audio_s(examples: Sequence[Example]) -> float:
    return sum(example.audio_s for example in examples)
