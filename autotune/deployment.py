"""Deployment: one complete configuration, what a trial measures and what ``deploy.yaml`` holds."""

from __future__ import annotations

import hashlib
import json
from functools import cached_property
from typing import Any, Literal

from pydantic import Field, model_validator

from autotune.documents import Document

__all__ = [
    "ARTIFACT_FORMATS",
    "FORMATS_OF_ENGINE",
    "Batch",
    "Chunking",
    "Deployment",
    "DeviceName",
    "EngineName",
    "FormatName",
    "baseline_deployment",
]

EngineName = Literal["onnxruntime", "torchscript", "pytorch", "funasr", "fake"]
FormatName = Literal["onnx-fp32", "onnx-int8", "torchscript-fp32", "pytorch-fp32"]
WeightType = Literal["u8", "s8"]
DeviceName = str

FORMATS_OF_ENGINE: dict[str, tuple[FormatName, ...]] = {
    "onnxruntime": ("onnx-fp32", "onnx-int8"),
    "torchscript": ("torchscript-fp32",),
    "pytorch": ("pytorch-fp32",),
    "funasr": ("pytorch-fp32",),
    "fake": ("onnx-fp32", "onnx-int8", "torchscript-fp32", "pytorch-fp32"),
}
"""Which formats each engine executes; ``pytorch-fp32`` is the model directory itself, no artifact."""

ARTIFACT_FORMATS: tuple[FormatName, ...] = ("onnx-fp32", "onnx-int8", "torchscript-fp32")
"""Formats that are exported and cached; the others run from the model directory."""


class Batch(Document):
    """How segments are grouped; the policy is ``recognizer/batching.py``'s."""

    max_size: int = Field(ge=1)
    """Most segments in one batch."""
    max_audio_s: float = Field(gt=0)
    """Most *padded* seconds in one batch (size × longest); one longer segment still forms a batch of its own."""
    max_wait_s: float = Field(ge=0)
    """Longest that the oldest request waits for company; 0 runs at once. Unused when all audio is there already."""


class Chunking(Document):
    """How a recording is cut into segments."""

    method: Literal["none", "fixed", "vad"]
    """``none``; ``fixed`` windows; ``vad``: FunASR's own Silero VAD path (engine ``funasr`` only)."""
    window_s: float | None
    """Length of a fixed window in seconds; null for the other methods."""

    @model_validator(mode="after")
    def _window_fits_method(self) -> Chunking:
        if self.method == "fixed" and (self.window_s is None or not 0.5 <= self.window_s <= 3600):
            raise ValueError(f"window_s must be in 0.5..3600 seconds for fixed windows, but got {self.window_s}")
        if self.method != "fixed" and self.window_s is not None:
            raise ValueError(f"window_s must be null for method {self.method!r}, but got {self.window_s}")
        return self


class Deployment(Document):
    """One complete configuration. Frozen, hashable; nothing is left to a default that may change."""

    format: FormatName
    """What the model was exported to; ``pytorch-fp32`` is the model directory itself."""
    weights: WeightType | None
    """int8 weight type: ``u8`` is FunASR's recipe, ``s8`` lets ONNX Runtime use VNNI/AMX; null unless int8."""
    engine: EngineName
    """What executes the format."""
    device: DeviceName = Field(pattern=r"^(cpu|cuda:\d+)$")
    """``cpu`` or ``cuda:N``."""
    instances: int = Field(ge=1)
    """Engines working side by side, each with its own threads."""
    intra_op_num_threads: int = Field(ge=1)
    """Threads inside one operator, for each instance (``ncpu`` for FunASR)."""
    inter_op_num_threads: int = Field(ge=1)
    """Threads across operators, for each instance."""
    session_options: dict[str, str | bool]
    """The engine's own options, see each engine's ``SESSION_OPTIONS``; empty for engines without any."""
    provider_options: dict[str, str]
    """Options of the ONNX Runtime execution provider; empty on the CPU."""
    batch: Batch
    """How segments are grouped."""
    chunking: Chunking
    """How recordings are cut."""
    language: Literal["auto", "zh", "en", "yue", "ja", "ko", "nospeech"]
    """SenseVoice's language prompt; Paraformer has none and ignores it."""
    text_norm: Literal["withitn", "woitn"]
    """SenseVoice's inverse text normalisation prompt; Paraformer ignores it."""

    @model_validator(mode="after")
    def _consistent(self) -> Deployment:
        allowed = FORMATS_OF_ENGINE[self.engine]
        if self.format not in allowed:
            raise ValueError(
                f"engine {self.engine!r} must have one of the formats {', '.join(allowed)}, but got {self.format!r}"
            )
        if (self.format == "onnx-int8") != (self.weights is not None):
            raise ValueError(f"weights must be u8 or s8 for onnx-int8 and null otherwise, but got {self.weights!r}")
        if (self.chunking.method == "vad") != (self.engine == "funasr"):
            raise ValueError('chunking method "vad" and engine "funasr" must come together in this version')
        return self

    @cached_property
    def key(self) -> str:
        """Canonical identity: 16 hex digits of the SHA-256 of the sorted JSON."""
        return hashlib.sha256(self.canonical().encode()).hexdigest()[:16]

    def canonical(self) -> str:
        """Sorted, compact JSON of every field."""
        return json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))

    def __hash__(self) -> int:
        return hash(self.key)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Deployment) and self.canonical() == other.canonical()

    @property
    def threads(self) -> int:
        """Threads that compute at once: instances × intra-op threads."""
        return self.instances * self.intra_op_num_threads

    def describe(self) -> str:
        """One short line for tables and logs."""
        name = f"{self.format}:{self.weights}" if self.weights else self.format
        chunk = f"{self.chunking.window_s:g} s" if self.chunking.window_s else self.chunking.method
        if self.engine == "funasr":
            return f"FunASR AutoModel, ncpu={self.intra_op_num_threads}, {self.device}"
        threads = f"{self.instances}×{self.intra_op_num_threads} threads"
        return f"{name} · {self.engine} · {self.device} · {threads} · batch {self.batch.max_size} · chunk {chunk}"


def baseline_deployment(*, ncpu: int, device: DeviceName = "cpu", language: Any = "auto") -> Deployment:
    """``AutoModel(model, vad_model="silero-vad", ncpu=ncpu).generate(batch_size_s=300)``: FunASR's own path.

    Args:
        ncpu: FunASR's thread count; its default is 4 whatever the machine has.
        device: FunASR would silently turn an absent ``cuda`` into ``cpu``; the engine refuses instead.
        language: SenseVoice's language prompt.
    """
    return Deployment(
        format="pytorch-fp32",
        weights=None,
        engine="funasr",
        device=device,
        instances=1,
        intra_op_num_threads=ncpu,
        inter_op_num_threads=1,
        session_options={},
        provider_options={},
        batch=Batch(max_size=1, max_audio_s=300.0, max_wait_s=0.0),
        chunking=Chunking(method="vad", window_s=None),
        language=language,
        text_norm="woitn",
    )
