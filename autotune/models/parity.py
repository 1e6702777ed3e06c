"""Parity: an artifact must compute what FunASR's own network computes, on varied lengths and batches."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from autotune.arrays import Float32, Int32
from autotune.audio.embedded import embedded_clips
from autotune.documents import Document
from autotune.model_directory import ModelDirectory

if TYPE_CHECKING:
    import torch

__all__ = [
    "EXACT",
    "HALF",
    "Forward",
    "Limits",
    "Parity",
    "ParityBatch",
    "batches",
    "compare",
    "features",
    "load_batches",
    "reference_outputs",
    "save_batches",
]


@dataclass(frozen=True)
class Limits:
    """How far a right artifact may be from the reference."""

    relative_error: float
    """Largest max|Δ| / max|reference| over valid frames. Not elementwise: values near 0 differ by many times themselves
    in a right export too."""
    argmax_agreement: float
    """Smallest share of valid frames with the same most likely token."""


EXACT = Limits(relative_error=1e-4, argmax_agreement=0.999)
"""Of fp32: a right export has a relative error of about 1e-6."""
HALF = {"onnx-fp16": Limits(0.02, 0.98), "onnx-bf16": Limits(0.2, 0.9)}
"""Of 16-bit floats: networks with random weights, many of whose tokens are nearly equally likely, have errors of up to
0.005 and 0.09, and agree on 99.6 % and 94.5 % of the frames or more. The accuracy guard judges the texts."""

_NOISE_FRAMES = ((20,), (167,), (61, 61), (40, 83, 120))
_SPEECH_CLIPS = 4
_WORST = 1e9
"""The error that is recorded for one that is not finite: documents hold finite numbers only."""


class Parity(Document):
    """How an artifact's output compares with the reference."""

    reference: str
    """``pytorch``: FunASR's own modules, one utterance at a time; ``onnx-fp32``: that artifact, itself checked;
    ``given``: a model's own ONNX file, which is all there is of it, itself, one utterance at a time."""
    max_relative_error: float
    """max|Δ| / max|reference| over all valid frames."""
    argmax_agreement: float
    """Share of valid frames with the same most likely token."""
    frames: int
    """Valid frames compared (tokens for Paraformer)."""
    lengths_agree: bool
    """Whether every utterance has the reference's number of frames (tokens)."""
    gated: bool
    """Whether failing forbids the artifact; int8 is recorded only, the accuracy of its text decides later."""
    passed: bool
    """Whether it is within the ``Limits`` of its format, and all lengths agree."""

    def describe(self) -> str:
        """One line for errors and lists."""
        lengths = "" if self.lengths_agree else ", numbers of tokens differ"
        return (
            f"max|Δ|/max|ref| {self.max_relative_error:.1e}, "
            f"same argmax on {self.argmax_agreement:.2%} of {self.frames} frames{lengths}"
        )


@dataclass(frozen=True)
class ParityBatch:
    """Features of several utterances as an engine gets them."""

    speech: Float32
    """float32 [batch, frames, feature_dim], zero-padded."""
    lengths: Int32
    """int32 [batch]: valid frames of each utterance."""
    bias: Float32 | None = None
    """float32 [batch, words, dim], zero-padded: embeddings of hot words, for graphs that take them."""
    bias_counts: Int32 | None = None
    """int32 [batch]: hot words of each utterance."""


Batch = TypeVar("Batch")
Forward = Callable[[ParityBatch], tuple[Float32, Int32]]
"""Runs a batch: scores float32 [batch, positions, vocabulary], and valid positions int32 [batch]."""


def batches(model: ModelDirectory) -> list[ParityBatch]:
    """Seeded noise at several lengths and batch sizes, and speech: the embedded clips through FunASR's front end.

    Child processes only: loads torch and funasr.
    """
    generator = np.random.default_rng(0)
    dim = model.frontend.feature_dim
    noise = [
        _padded([generator.standard_normal((frames, dim)).astype(np.float32) for frames in lengths])
        for lengths in _NOISE_FRAMES
    ]
    return [*noise, _padded(features(model, [clip.waveform for clip in embedded_clips()[:_SPEECH_CLIPS]]))]


def features(model: ModelDirectory, waveforms: Iterable[Float32]) -> list[Float32]:
    """FunASR's own front end, dither off: float32 [samples] each → float32 [frames, feature_dim] each.

    Child processes only: loads torch and funasr.
    """
    import torch

    from autotune.engines.funasr_import import skip_funasr_init

    skip_funasr_init()
    from funasr.frontends.wav_frontend import WavFrontend

    settings = {**(model.config.get("frontend_conf") or {}), "dither": 0.0}
    cmvn = model.frontend.cmvn_path
    frontend = WavFrontend(**{**settings, "cmvn_file": str(cmvn) if cmvn else None})
    waves = [torch.from_numpy(waveform.copy()) for waveform in waveforms]
    return [frontend(wave[None], [len(wave)])[0][0].numpy() for wave in waves]


def save_batches(path: Path, batches: Sequence[ParityBatch]) -> None:
    """Keep batches for a check in a process without torch. Raises OSError."""
    fields = {f"{name}_{index}": value for index, batch in enumerate(batches) for name, value in vars(batch).items()}
    np.savez(path, **{name: value for name, value in fields.items() if value is not None})


def load_batches(path: Path) -> list[ParityBatch]:
    """The batches that ``save_batches`` wrote."""
    with np.load(path, allow_pickle=False) as arrays:
        batches: dict[str, dict[str, Any]] = {}
        for name in arrays.files:
            field, _, index = name.rpartition("_")
            batches.setdefault(index, {})[field] = arrays[name]
        return [ParityBatch(**batches[index]) for index in sorted(batches, key=int)]


def reference_outputs(
    network: torch.nn.Module, model: ModelDirectory, batches: Sequence[ParityBatch]
) -> list[list[Float32]]:
    """FunASR's own eager modules, one utterance at a time as AutoModel runs them on a CPU: scores of each row."""
    import torch

    run = _eager_sensevoice if model.architecture == "SenseVoiceSmall" else _eager_paraformer
    with torch.inference_mode():
        return [
            [
                run(network, torch.from_numpy(row[None, : int(length)].copy())).numpy()
                for row, length in zip(batch.speech, batch.lengths, strict=True)
            ]
            for batch in batches
        ]


def compare(
    forward: Callable[[Batch], tuple[Float32, Int32]],
    batches: Sequence[Batch],
    expected: Sequence[Sequence[Float32]],
    *,
    reference: str,
    gated: bool,
    limits: Limits = EXACT,
) -> Parity:
    """Run every batch and compare its valid positions with the expected scores of each row."""
    error = largest = 0.0
    same = frames = 0
    lengths_agree = True
    for batch, rows in zip(batches, expected, strict=True):
        scores, lengths = forward(batch)
        for got, length, want in zip(scores, lengths, rows, strict=True):
            lengths_agree &= int(length) == len(want)
            valid = min(int(length), len(want), len(got))
            if not valid:
                continue
            with np.errstate(invalid="ignore", over="ignore"):
                difference = float(np.max(np.abs(got[:valid] - want[:valid])))
            # NaN anywhere must fail, and max() would drop it.
            error = max(error, difference if np.isfinite(difference) else np.inf)
            largest = max(largest, float(np.max(np.abs(want[:valid]))))
            same += int(np.sum(got[:valid].argmax(-1) == want[:valid].argmax(-1)))
            frames += valid
    relative = min(error / largest, _WORST) if 0 < largest < np.inf else _WORST
    agreement = same / frames if frames else 0.0
    passed = relative <= limits.relative_error and agreement >= limits.argmax_agreement and lengths_agree
    return Parity(
        reference=reference,
        max_relative_error=relative,
        argmax_agreement=agreement,
        frames=frames,
        lengths_agree=lengths_agree,
        gated=gated,
        passed=passed,
    )


def _padded(rows: Sequence[Float32]) -> ParityBatch:
    lengths = np.array([len(row) for row in rows], dtype=np.int32)
    speech = np.zeros((len(rows), int(lengths.max()), rows[0].shape[1]), dtype=np.float32)
    for index, row in enumerate(rows):
        speech[index, : len(row)] = row
    return ParityBatch(speech, lengths)


def _eager_sensevoice(network: Any, speech: torch.Tensor) -> torch.Tensor:
    import torch

    prompts = network.embed(torch.tensor([[0, 1, 2, 15]]))
    lengths = torch.tensor([speech.shape[1] + 4], dtype=torch.int32)
    encoded, _ = network.encoder(torch.cat((prompts, speech), dim=1), lengths)
    return network.ctc.ctc_lo(encoded)[0]  # type: ignore[no-any-return]


def _eager_paraformer(network: Any, speech: torch.Tensor) -> torch.Tensor:
    import torch

    hidden, lengths = network.encode(speech, torch.tensor([speech.shape[1]], dtype=torch.int32))
    embeds, token_num, *_ = network.calc_predictor(hidden, lengths)
    token_num = token_num.round().long()
    if int(token_num) < 1:
        return torch.zeros(0, network.vocab_size)
    return network.decoder(hidden, lengths, embeds, token_num)[0][0, : int(token_num)]  # type: ignore[no-any-return]
