"""FunASR's FSMN-VAD through FunASR's own class, from a model directory. Loads torch and FunASR: for child processes."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np

from autotune.arrays import Float32
from autotune.audio.reading import SAMPLE_RATE_HZ
from autotune.documents import read_yaml
from autotune.engines.funasr import network_settings, quiet
from autotune.errors import DocumentError, EngineUnavailableError, ModelError
from autotune.model_directory import FRONT_ENDS, named_files

__all__ = ["MODEL_CLASS", "FsmnVad"]

MODEL_CLASS, ENCODER_CLASS = "FsmnVADStreaming", "FSMN"
FRAME_SAMPLES = 160
"""Samples for which the model gives one score: 10 ms."""
BLOCK_SAMPLES = SAMPLE_RATE_HZ
"""Samples that one call gets: a second, as in FunASR's C++ server."""
BLOCK_MS = BLOCK_SAMPLES * 1000 // SAMPLE_RATE_HZ


class FsmnVad:
    """An FSMN-VAD model. Owns it; calls of several threads take turns.

    FunASR's own state machine decides what is speech, with ``max_end_silence_time`` = ``min_silence_s``. What it
    can't take back any more becomes a track: 0 outside its segments, inside at least 0.5 and the network's own
    probability of speech, so that long segments can be cut where it is lowest.
    """

    frame_samples = FRAME_SAMPLES
    settles_silence = True

    def __init__(self, directory: Path, *, min_silence_s: float) -> None:
        """Load the directory.

        Raises:
            ModelError: it holds no FSMN-VAD, or a damaged one.
            EngineUnavailableError: torch or FunASR is missing.
        """
        directory = directory.resolve()
        self._model = _load(directory, _checked_config(directory))
        self._options: dict[str, Any] = {"max_end_silence_time": max(1, round(min_silence_s * 1000))}
        self._lock = threading.Lock()
        self._scores: list[Float32] = []
        silence = list(self._model.model.vad_opts.sil_pdf_ids)
        # FunASR keeps scores only while it needs them: they are taken as the network gives them.
        self._model.model.encoder.register_forward_hook(
            lambda _module, _inputs, output: self._scores.append(
                1.0 - output.detach()[0][:, silence].sum(dim=-1).cpu().numpy()
            )
        )

    @property
    def margin(self) -> int:
        """Frames back from the newest one that its state machine may still decide."""
        options = self._model.model.vad_opts
        ms = options.window_size_ms + options.lookback_time_start_point + self._options["max_end_silence_time"]
        return int(ms) // 10 + 10

    def track(self, *, live: bool) -> _FsmnTrack:
        """A track for one recording."""
        return _FsmnTrack(self)

    def detect(
        self, block: Float32, cache: dict[str, Any], *, final: bool
    ) -> tuple[list[tuple[int, int]], list[float]]:
        """FunASR's events in one block: (begin, end) in ms, −1 for what isn't in it, and each frame's probability."""
        import torch

        with self._lock, torch.inference_mode():
            # OpenMP keeps the number per thread: an engine's own threads are not touched.
            if torch.get_num_threads() != 1:
                torch.set_num_threads(1)
            self._scores.clear()
            # Not AutoModel.generate: it divides by the duration of features, of which a short block has none.
            results, _ = self._model.model.inference(
                data_in=[block],
                key=["vad"],
                frontend=self._model.kwargs["frontend"],
                cache=cache,
                device="cpu",
                is_final=final,
                # The last block may be a whole one, and FunASR would look for another behind it.
                chunk_size=2 * BLOCK_MS if final else BLOCK_MS,
                is_streaming_input=True,
                **self._options,
            )
            scores = [float(value) for part in self._scores for value in part]
        return [(int(begin), int(end)) for begin, end in results[0]["value"]], scores


class _FsmnTrack:
    """A ``SpeechTrack`` of FunASR's FSMN-VAD."""

    def __init__(self, vad: FsmnVad) -> None:
        self._vad = vad
        self._cache: dict[str, Any] = {}
        self._waiting: list[Float32] = []
        self._count = 0
        self._total = 0
        self._scores: list[float] = []
        """Probabilities of speech of the frames from ``_given`` on."""
        self._segments: list[tuple[int, int | None]] = []
        """First and last (exclusive) frame of FunASR's segments that end after ``_given``; the last may be open."""
        self._given = 0

    def push(self, samples: Float32) -> list[float]:
        self._total += len(samples)
        self._waiting.append(samples.copy())
        self._count += len(samples)
        settled: list[float] = []
        # The last block must not be empty, so one is run only when there is more behind it.
        while self._count > BLOCK_SAMPLES:
            joined = np.concatenate(self._waiting)
            self._waiting, self._count = [joined[BLOCK_SAMPLES:]], self._count - BLOCK_SAMPLES
            self._detect(joined[:BLOCK_SAMPLES], final=False)
            seen = self._given + len(self._scores)
            settled += self._give(seen - self._vad.margin)
        return settled

    def finish(self) -> list[float]:
        if not self._total:
            return []
        self._detect(np.concatenate(self._waiting), final=True)
        if self._segments and self._segments[-1][1] is None:
            self._segments[-1] = (self._segments[-1][0], -(-self._total // FRAME_SAMPLES))
        return self._give(-(-self._total // FRAME_SAMPLES))

    def _detect(self, block: Float32, *, final: bool) -> None:
        events, scores = self._vad.detect(block, self._cache, final=final)
        self._scores += scores
        for begin_ms, end_ms in events:
            if begin_ms >= 0:
                self._segments.append((begin_ms // 10, None))
            if end_ms >= 0 and self._segments:
                self._segments[-1] = (self._segments[-1][0], -(-end_ms // 10))

    def _give(self, until: int) -> list[float]:
        count = max(0, until - self._given)
        track = [0.0] * count
        for start, stop in self._segments:
            for frame in range(max(start, self._given), min(until, until if stop is None else stop)):
                place = frame - self._given
                track[place] = max(0.5, self._scores[place]) if place < len(self._scores) else 0.5
        self._given += count
        del self._scores[:count]
        self._segments = [item for item in self._segments if item[1] is None or item[1] > self._given]
        return track


def _checked_config(directory: Path) -> dict[str, Any]:
    """``config.yaml`` as parsed. Refuses, in words, what FunASR would fail on somewhere inside, and other classes."""
    where = f'(chunking.vad_model). It must be "silero" or the directory of a FunASR {MODEL_CLASS} model.'
    if not directory.is_dir():
        raise ModelError(f"The VAD model must be a directory, but {directory} is not one {where}")
    if not (directory / "config.yaml").is_file():
        raise ModelError(f"The VAD model's directory must hold config.yaml, but {directory} has none {where}")
    try:
        config = read_yaml(directory / "config.yaml")
    except DocumentError as error:
        raise ModelError(str(error)) from error
    config = config if isinstance(config, dict) else {}
    classes = {"model": (MODEL_CLASS,), "encoder": (ENCODER_CLASS,), "frontend": FRONT_ENDS}
    for key, names in classes.items():
        if (name := config.get(key)) not in names:
            allowed = " or ".join(names)
            raise ModelError(
                f"The VAD model's {key} must be {allowed}, but {directory}/config.yaml says {name!r} {where}"
            )
    if not (directory / "model.pt").is_file():
        raise ModelError(f"The VAD model's directory must hold model.pt, but {directory} has none {where}")
    return config


def _load(directory: Path, config: dict[str, Any]) -> Any:
    cmvn = named_files(directory).get("cmvn_file", directory / "am.mvn")
    try:
        with quiet():
            from funasr import AutoModel

            return AutoModel(
                **network_settings(config, weights=directory / "model.pt", cmvn=cmvn if cmvn.is_file() else None),
                # Beside an engine: one thread, as Silero has.
                ncpu=1,
                device="cpu",
                disable_update=True,
                disable_pbar=True,
                log_level="ERROR",
            )
    except ImportError as error:
        raise EngineUnavailableError(
            f"FSMN-VAD needs FunASR, but it cannot be imported ({error}). Install it: pip install funasr, "
            'or choose chunking.vad_model "silero".'
        ) from error
    except Exception as error:
        raise ModelError(f"{directory} must be an FSMN-VAD model that FunASR loads, but: {error}") from error
