"""FunASR's FSMN-VAD through FunASR's own class, from a model directory. Loads torch and FunASR: for child processes."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np

from autotune.arrays import Float32
from autotune.audio.reading import SAMPLE_RATE_HZ
from autotune.engines.funasr import quiet
from autotune.engines.funasr_import import import_network_classes
from autotune.engines.network import fill, read_weights
from autotune.errors import EngineUnavailableError, ModelError
from autotune.model_directory import VAD_CLASS, VAD_ENCODER, VadDirectory
from autotune.recognizer.frontend import read_cmvn

__all__ = ["FsmnVad"]

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
            ModelError: it holds no FSMN-VAD, a damaged one, or weights with code in them.
            EngineUnavailableError: torch or FunASR is missing.
        """
        self._model, self._frontend = _load(VadDirectory.open(directory))
        self._options: dict[str, Any] = {"max_end_silence_time": max(1, round(min_silence_s * 1000))}
        self._lock = threading.Lock()
        self._scores: list[Float32] = []
        silence = list(self._model.vad_opts.sil_pdf_ids)
        # FunASR keeps scores only while it needs them: they are taken as the network gives them.
        self._model.encoder.register_forward_hook(
            lambda _module, _inputs, output: self._scores.append(
                1.0 - output.detach()[0][:, silence].sum(dim=-1).cpu().numpy()
            )
        )

    @property
    def margin(self) -> int:
        """Frames back from the newest one that its state machine may still decide."""
        options = self._model.vad_opts
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
            results, _ = self._model.inference(
                data_in=[block],
                key=["vad"],
                frontend=self._frontend,
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


def _load(directory: VadDirectory) -> tuple[Any, Any]:
    """FunASR's model and front end, built from settings that are read and tensors that are checked.

    Not by its AutoModel, which takes any key of a configuration as an argument, and some of them run code.
    """
    try:
        with quiet():
            parts = {"encoder": VAD_ENCODER, "frontend": directory.front_end}
            tables = import_network_classes(VAD_CLASS, parts)
            cmvn = directory.cmvn_path
            frontend = tables.frontend_classes[directory.front_end](
                **directory.features, cmvn_file=None if cmvn is None else str(cmvn)
            )
            model = tables.model_classes[VAD_CLASS](
                **directory.detection, encoder=VAD_ENCODER, encoder_conf=directory.network
            )
        if cmvn is not None:
            read_cmvn(cmvn, frontend.output_size())
        fill(model, read_weights(directory.weights_path), directory.weights_path)
    except ImportError as error:
        raise EngineUnavailableError(
            f"FSMN-VAD needs FunASR, but it cannot be imported ({error}). Install it: pip install funasr, "
            'or choose chunking.vad_model "silero".'
        ) from error
    except ModelError:
        raise
    except Exception as error:
        raise ModelError(f"{directory.path} must be an FSMN-VAD model that FunASR builds, but: {error}") from error
    return model.eval(), frontend
