"""Silero VAD, many frames in one call of ONNX Runtime. For child processes: it loads a runtime."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path
from typing import Any

import numpy as np

from autotune.arrays import Float32
from autotune.audio.vad_graph import STATE_SHAPE, lean_session
from autotune.errors import EngineUnavailableError

__all__ = ["BLOCK_FRAMES", "FRAME_SAMPLES", "SileroStream", "SileroVad", "silero_model_path"]

FRAME_SAMPLES = 512
"""Samples for which Silero gives one probability: 32 ms at 16 kHz."""

BLOCK_FRAMES = 512
"""Frames of one call, 16.4 s: longer calls are no faster, and each frame takes 2.3 kB and every layer's activations."""

_CONTEXT_SAMPLES = 64
_MODEL_NAME = "silero_vad_16k_sequence.onnx"


def silero_model_path() -> Path:
    """The sequence model inside the installed ``silero-vad`` package, found without importing it (it imports torch).

    Raises:
        EngineUnavailableError: the package or the model in it is missing.
    """
    advice = 'Install it: pip install "silero-vad>=6.2"'
    try:
        files = importlib.metadata.files("silero-vad") or []
    except importlib.metadata.PackageNotFoundError as error:
        raise EngineUnavailableError(f"Silero VAD needs the package silero-vad. {advice}") from error
    for file in files:
        path = Path(str(file.locate()))
        if file.name == _MODEL_NAME and path.is_file():
            return path
    raise EngineUnavailableError(f"silero-vad must contain {_MODEL_NAME}, but does not. {advice}")


class SileroVad:
    """Speech probabilities of a waveform, or of one that comes in piece by piece.

    Owns one ONNX Runtime session, which threads may share; ``probabilities`` and each stream start anew.
    """

    def __init__(self, threads: int = 1) -> None:
        path = silero_model_path()
        try:
            import onnxruntime
        except ImportError as error:
            message = "Silero VAD needs ONNX Runtime. Install it: pip install onnxruntime"
            raise EngineUnavailableError(message) from error
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3

        def open_session(model: str | bytes) -> Any:
            return onnxruntime.InferenceSession(model, sess_options=options, providers=["CPUExecutionProvider"])

        self._session = lean_session(path, open_session)

    def probabilities(self, waveform: Float32) -> Float32:
        """Speech probability of each frame of 512 samples, the last one zero-padded.

        Args:
            waveform: float32 [samples], 16 kHz mono in −1..1.

        Returns:
            float32 [ceil(samples / 512)] in 0..1.
        """
        stream = self.stream()
        return np.concatenate([stream.push(waveform), stream.finish()])

    def stream(self, block_frames: int = BLOCK_FRAMES) -> SileroStream:
        """Probabilities of a recording that comes in piece by piece, ``block_frames`` frames a call."""
        return SileroStream(self._session, block_frames)

    def speech_share(self, waveform: Float32, threshold: float = 0.5) -> float:
        """Share of frames at or above ``threshold``. Raises ValueError for an empty waveform."""
        if not len(waveform):
            raise ValueError("the speech share of an empty waveform is undefined")
        return float(np.mean(self.probabilities(waveform) >= threshold))


class SileroStream:
    """The probabilities of one recording. For one thread.

    Frames are run in blocks at fixed places of the recording, so that how it is split into pushes changes not even a
    rounding.
    """

    def __init__(self, session: Any, block_frames: int) -> None:
        self._session = session
        self._block = block_frames * FRAME_SAMPLES
        self._hidden = np.zeros(STATE_SHAPE, np.float32)
        self._cell = np.zeros(STATE_SHAPE, np.float32)
        # The last samples before what waits, then what waits for its block to be full.
        self._waiting: list[Float32] = [np.zeros(_CONTEXT_SAMPLES, np.float32)]
        self._count = 0

    def push(self, samples: Float32) -> Float32:
        """Take the next samples; returns the probabilities of the blocks that they fill: float32 [frames ≥0], 0..1."""
        probabilities = []
        for start in range(0, len(samples), self._block):
            part = samples[start : start + self._block]
            room = self._block - self._count
            self._add(part[:room])
            if self._count == self._block:
                probabilities.append(self._run())
                self._add(part[room:])
        return np.concatenate(probabilities) if probabilities else np.zeros(0, np.float32)

    def finish(self) -> Float32:
        """End the recording; returns the probabilities of what is left, its last frame zero-padded."""
        if not self._count:
            return np.zeros(0, np.float32)
        self._add(np.zeros(-self._count % FRAME_SAMPLES, np.float32))
        return self._run()

    def _add(self, samples: Float32) -> None:
        if len(samples):
            # A copy: the caller may use its buffer again.
            self._waiting.append(samples.copy())
            self._count += len(samples)

    def _run(self) -> Float32:
        """Run what waits; each frame stands behind the last 64 samples of the frame before."""
        samples = np.concatenate(self._waiting)
        self._waiting, self._count = [samples[-_CONTEXT_SAMPLES:].copy()], 0
        windows = np.lib.stride_tricks.sliding_window_view(samples, _CONTEXT_SAMPLES + FRAME_SAMPLES)
        inputs = {"input": np.ascontiguousarray(windows[::FRAME_SAMPLES]), "h": self._hidden, "c": self._cell}
        values, self._hidden, self._cell = self._session.run(["speech_probs", "hn", "cn"], inputs)
        probabilities: Float32 = np.asarray(values, np.float32).reshape(-1)
        return probabilities
