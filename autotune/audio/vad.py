"""Silero VAD over a whole waveform in a few calls of ONNX Runtime. For child processes: it loads a runtime."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path
from typing import Any

import numpy as np

from autotune.audio.reading import Float32
from autotune.errors import EngineUnavailableError

__all__ = ["FRAME_SAMPLES", "SileroVad", "silero_model_path"]

FRAME_SAMPLES = 512
"""One probability for each 32 ms at 16 kHz."""

_CONTEXT_SAMPLES = 64
_STATE_SHAPE = (1, 1, 128)
# Frames a call: longer calls are no faster and hold 2.3 kB a frame and the activations of each layer.
_BLOCK_FRAMES = 512
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
    """Speech probabilities of a waveform.

    Owns one ONNX Runtime session. One thread at a time calls it; each call is independent of the calls before.
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
        self._session: Any = onnxruntime.InferenceSession(
            str(path), sess_options=options, providers=["CPUExecutionProvider"]
        )

    def probabilities(self, waveform: Float32) -> Float32:
        """Speech probability of each frame of 512 samples, the last one zero-padded.

        Args:
            waveform: float32 [samples], 16 kHz mono in −1..1.

        Returns:
            float32 [ceil(samples / 512)] in 0..1.
        """
        count = -(-len(waveform) // FRAME_SAMPLES)
        hidden = np.zeros(_STATE_SHAPE, np.float32)
        cell = np.zeros(_STATE_SHAPE, np.float32)
        result = np.zeros(count, np.float32)
        for start in range(0, count, _BLOCK_FRAMES):
            frames = _frames(waveform, start, min(start + _BLOCK_FRAMES, count))
            inputs = {"input": frames, "h": hidden, "c": cell}
            values, hidden, cell = self._session.run(["speech_probs", "hn", "cn"], inputs)
            result[start : start + len(frames)] = np.asarray(values).reshape(-1)
        return result

    def speech_share(self, waveform: Float32, threshold: float = 0.5) -> float:
        """Share of frames at or above ``threshold``. Raises ValueError for an empty waveform."""
        if not len(waveform):
            raise ValueError("the speech share of an empty waveform is undefined")
        return float(np.mean(self.probabilities(waveform) >= threshold))


def _frames(waveform: Float32, first: int, end: int) -> Float32:
    """Frames ``first..end``, each behind the last 64 samples of the frame before (zeros before the first one)."""
    samples = np.zeros(_CONTEXT_SAMPLES + (end - first) * FRAME_SAMPLES, np.float32)
    begin = first * FRAME_SAMPLES - _CONTEXT_SAMPLES
    part = waveform[max(begin, 0) : end * FRAME_SAMPLES]
    offset = max(-begin, 0)
    samples[offset : offset + len(part)] = part
    windows = np.lib.stride_tricks.sliding_window_view(samples, _CONTEXT_SAMPLES + FRAME_SAMPLES)
    return np.ascontiguousarray(windows[::FRAME_SAMPLES])
