"""Deployment: one complete configuration, what a trial measures and what ``deploy.yaml`` holds."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import Any, Literal

from pydantic import Field, model_validator

from autotune.documents import Document
from autotune.formats import (
    ARTIFACT_FORMATS,
    FORMATS_OF_ENGINE,
    ArtifactSpec,
    EngineName,
    FormatName,
    GraphName,
    WeightType,
)

__all__ = [
    "CHUNKING_FIELDS",
    "DEVICE",
    "LATER_OPTIONS",
    "SILERO",
    "Batch",
    "Chunking",
    "Deployment",
    "Language",
    "Punctuation",
    "PunctuationFormat",
    "TextNorm",
    "baseline_deployment",
    "told_apart",
]

PunctuationFormat = Literal["onnx-fp32", "onnx-int8", "pytorch-fp32"]
Language = Literal["auto", "zh", "en", "yue", "ja", "ko", "nospeech"]
TextNorm = Literal["withitn", "woitn"]
DEVICE = r"cpu|cuda:\d+"
"""Pattern of a device's name."""

_ONNX_RUNTIMES_OWN: tuple[GraphName, ...] = ("fused", "unmasked")
"""Graphs with an operator that only ONNX Runtime has."""

CHUNKING_FIELDS: dict[str, tuple[str, ...]] = {
    "none": (),
    "fixed": ("window_s", "overlap_s"),
    "vad": ("vad_model", "max_segment_s", "merge_s", "min_silence_s", "pad_s"),
    "funasr": (),
}
"""Which fields of ``Chunking`` each method has; the others are null."""

SILERO = "silero"
"""The ``vad_model`` that is a package, not a directory."""

_SECONDS = {
    "window_s": (0.5, 3600.0),
    "overlap_s": (0.0, 60.0),
    "max_segment_s": (1.0, 3600.0),
    "merge_s": (0.0, 3600.0),
    "min_silence_s": (0.03, 10.0),
    "pad_s": (0.0, 2.0),
}


class Batch(Document):
    """How segments are grouped; the policy is ``recognizer/batching.py``'s."""

    max_size: int = Field(ge=1)
    """Most segments in one batch."""
    max_audio_s: float = Field(gt=0)
    """Most *padded* seconds in one batch (size × longest); one longer segment still forms a batch of its own."""
    max_wait_s: float = Field(ge=0)
    """Longest that the oldest request waits for company; 0 runs at once. Unused when all audio is there already."""
    pad_to_s: float = Field(default=0.0, ge=0, le=60)
    """Batches are padded to a multiple of this many seconds, so that an engine sees few shapes; 0: to their longest."""

    def padded_s(self, longest_s: float) -> float:
        """Seconds that each segment of a batch takes, ``longest_s`` being its longest."""
        return longest_s if self.pad_to_s == 0 else math.ceil(longest_s / self.pad_to_s - 1e-9) * self.pad_to_s


class Chunking(Document):
    """How a recording is cut into segments; a field is null unless its method has it."""

    method: Literal["none", "fixed", "vad", "funasr"]
    """``none``; ``fixed`` windows; ``vad``: where nobody speaks; ``funasr``: FunASR's own path (engine ``funasr``)."""
    window_s: float | None = None
    """``fixed``: longest window. Windows of a recording whose length is known are equally long."""
    overlap_s: float | None = None
    """``fixed``: what neighbouring windows share; what both contain is in the text once. 0 where it isn't given."""
    vad_model: str | None = None
    """``vad``: ``silero``, or the directory of a FunASR FSMN-VAD model."""
    max_segment_s: float | None = None
    """``vad``: longest segment, padding included; longer speech is cut at its deepest pause."""
    merge_s: float | None = None
    """``vad``: neighbours become one segment while it is no longer than this, the silence between them included."""
    min_silence_s: float | None = None
    """``vad``: shorter silence doesn't end a segment."""
    pad_s: float | None = None
    """``vad``: silence kept on either side of speech; neighbours share what is between them."""

    @model_validator(mode="before")
    @classmethod
    def _no_overlap_unless_given(cls, data: Any) -> Any:
        if isinstance(data, dict) and data.get("method") == "fixed" and data.get("overlap_s") is None:
            return {**data, "overlap_s": 0.0}
        return data

    @model_validator(mode="after")
    def _fields_fit_method(self) -> Chunking:
        own = CHUNKING_FIELDS[self.method]
        for name in (name for names in CHUNKING_FIELDS.values() for name in names):
            value = getattr(self, name)
            if name not in own and value is not None:
                raise ValueError(f"{name} must be null for method {self.method!r}, but got {value}")
            if name in own and name in _SECONDS:
                low, high = _SECONDS[name]
                if value is None or not low <= value <= high:
                    raise ValueError(
                        f"{name} must be in {low:g}..{high:g} seconds for method {self.method!r}, but got {value}"
                    )
        if self.method == "vad" and not self.vad_model:
            raise ValueError(f'vad_model must be "silero" or a model directory, but got {self.vad_model!r}')
        self._check_relations()
        return self

    def _check_relations(self) -> None:
        if self.window_s is not None and self.overlap_s is not None and not 2 * self.overlap_s < self.window_s:
            raise ValueError(
                f"overlap_s must be less than half of window_s, but got {self.overlap_s:g} of {self.window_s:g}"
            )
        if self.max_segment_s is None or self.merge_s is None or self.pad_s is None:
            return
        if self.merge_s > self.max_segment_s:
            raise ValueError(
                f"merge_s must be at most max_segment_s, but got {self.merge_s:g} and {self.max_segment_s:g}"
            )
        if 4 * self.pad_s > self.max_segment_s:
            raise ValueError(
                f"pad_s must be at most a quarter of max_segment_s, but got {self.pad_s:g} of {self.max_segment_s:g}"
            )

    def describe(self) -> str:
        """A few words for tables: ``15 s −1 s overlap``, ``vad ≤30 s``, ``vad ≤30 s +15 s`` (merged), ``none``."""
        if self.method == "fixed":
            overlap = f" −{self.overlap_s:g} s overlap" if self.overlap_s else ""
            return f"{self.window_s:g} s{overlap}"
        if self.method == "vad":
            merged = f" +{self.merge_s:g} s" if self.merge_s else ""
            return f"{'vad' if self.vad_model == SILERO else 'fsmn-vad'} ≤{self.max_segment_s:g} s{merged}"
        return self.method


class Punctuation(Document):
    """A FunASR punctuation model (``ct-punc``) that sets the marks of finished texts, beside the engines on the CPU."""

    model: str = Field(min_length=1)
    """The model as it was named: an absolute directory, or ``random:PRESET``."""
    sha256: str = Field(min_length=1)
    """SHA-256 over its weights, configuration and tokens."""
    format: PunctuationFormat
    """What it was exported to; ``pytorch-fp32`` inside FunASR's own path."""
    threads: int = Field(ge=1)
    """Threads of its own; inside FunASR's own path they are the engine's."""


_LATER = {"readers": 1, "punctuation": None}
"""Field that was added to ``Deployment`` after 0.1 → the value with which everything is as it was without it."""

LATER_OPTIONS: dict[str, str | bool] = {"compile": "none", "cuda_graphs": False}
"""The same for session options: a deployment without one has this value."""


class Deployment(Document):
    """One complete configuration. Frozen, hashable; nothing is left to a default that may change."""

    format: FormatName
    """What the model was exported to; ``pytorch-fp32`` is the model directory itself."""
    weights: WeightType | None
    """int8 weight type, see ``WEIGHT_TYPES``; null unless int8."""
    graph: GraphName | None
    """How the exported network computes the same, see ``GRAPHS_OF_FORMAT``; null where nothing is exported."""
    fp32_share: float = Field(default=0.0, ge=0, lt=1)
    """int8, and 16-bit ONNX: the matrix products that cause this share of what fewer bits change stay in fp32, as few
    weights as possible; measured one at a time (``models/sensitivity.py``)."""
    engine: EngineName
    """What executes the format."""
    device: str = Field(pattern=f"^({DEVICE})$")
    """``cpu`` or ``cuda:N``."""
    instances: int = Field(ge=1)
    """Engines working side by side, each with its own threads."""
    intra_op_num_threads: int = Field(ge=1)
    """Threads inside one operator, for each instance (``ncpu`` for FunASR)."""
    inter_op_num_threads: int = Field(ge=1)
    """Threads across operators, for each instance."""
    readers: int = Field(default=1, ge=1)
    """Threads that decode recordings, find speech and compute features, each for a whole recording at a time; only
    where several recordings are there at once. They don't count among the engines' threads."""
    pinning: bool = False
    """Whether each instance's threads keep to CPUs of their own."""
    session_options: dict[str, str | bool]
    """The engine's own options, see each engine's ``SESSION_OPTIONS``; empty for engines without any."""
    provider_options: dict[str, str]
    """Options of the ONNX Runtime execution provider; empty on the CPU."""
    batch: Batch
    """How segments are grouped."""
    chunking: Chunking
    """How recordings are cut."""
    language: Language
    """SenseVoice's language prompt; Paraformer has none and ignores it."""
    text_norm: TextNorm
    """SenseVoice's inverse text normalisation prompt; Paraformer ignores it."""
    punctuation: Punctuation | None = None
    """What punctuates finished texts; null: they stay as the model gives them."""

    @model_validator(mode="after")
    def _consistent(self) -> Deployment:
        allowed = FORMATS_OF_ENGINE[self.engine]
        if self.format not in allowed:
            raise ValueError(
                f"engine {self.engine!r} must have one of the formats {', '.join(allowed)}, but got {self.format!r}"
            )
        if self.format in ARTIFACT_FORMATS:
            ArtifactSpec(self.format, self.weights, self.graph or "", self.fp32_share)  # type: ignore[arg-type]
        elif self.weights is not None or self.graph is not None or self.fp32_share:
            raise ValueError(
                f"weights and graph must be null, and fp32_share 0, for {self.format}, but got {self.weights!r}, "
                f"{self.graph!r} and {self.fp32_share:g}"
            )
        if self.engine in ("openvino", "tensorrt") and self.graph in _ONNX_RUNTIMES_OWN:
            raise ValueError(f"graph must be funasr or lean for engine {self.engine}, but got {self.graph!r}")
        if self.batch.pad_to_s and self.graph not in ("lean", "fused"):
            raise ValueError(
                f"batch.pad_to_s must be 0 unless graph is lean or fused, but got {self.batch.pad_to_s:g} with "
                f"{self.graph!r}"
            )
        if (self.chunking.method == "funasr") != (self.engine == "funasr"):
            raise ValueError(
                'chunking method "funasr" and engine "funasr" must come together, but got '
                f"method {self.chunking.method!r} with engine {self.engine!r}"
            )
        self._check_punctuation()
        return self

    def _check_punctuation(self) -> None:
        stage = self.punctuation
        if stage is None:
            return
        if (stage.format == "pytorch-fp32") != (self.engine == "funasr"):
            raise ValueError(
                "punctuation.format must be pytorch-fp32 for engine funasr and an ONNX format for all others, but got "
                f"{stage.format} with {self.engine}"
            )
        if self.engine == "funasr" and stage.threads != self.intra_op_num_threads:
            raise ValueError(
                f"punctuation.threads must be intra_op_num_threads ({self.intra_op_num_threads}) for engine funasr, "
                f"but got {stage.threads}"
            )

    @cached_property
    def key(self) -> str:
        """Canonical identity: 16 hex digits of the SHA-256 of the sorted JSON."""
        return hashlib.sha256(self.canonical().encode()).hexdigest()[:16]

    def canonical(self) -> str:
        """Sorted, compact JSON of every field; one that came later only where it isn't as it was before."""
        fields = self.model_dump(mode="json")
        # Keys are kept in journals, tables and histories: a new field must not change those of old deployments.
        kept = {name: value for name, value in fields.items() if (name, value) not in _LATER.items()}
        options = self.session_options.items()
        kept["session_options"] = {name: value for name, value in options if (name, value) not in LATER_OPTIONS.items()}
        return json.dumps(kept, sort_keys=True, separators=(",", ":"))

    def __hash__(self) -> int:
        return hash(self.key)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Deployment) and self.key == other.key

    @property
    def artifact(self) -> ArtifactSpec | None:
        """What must be exported for it; None where the model directory itself is run."""
        if self.graph is None:
            return None
        return ArtifactSpec(self.format, self.weights, self.graph, self.fp32_share)

    @property
    def threads(self) -> int:
        """Threads that compute at once: instances × intra-op threads."""
        return self.instances * self.intra_op_num_threads

    def describe(self) -> str:
        """One short line for tables and logs."""
        name = self.artifact.label if self.artifact else self.format
        punctuated = "" if self.punctuation is None else f" · punctuation {self.punctuation.format}"
        if self.engine == "funasr":
            punctuated = punctuated and ", punctuation"
            return f"FunASR AutoModel, ncpu={self.intra_op_num_threads}, {self.device}{punctuated}"
        threads = f"{self.instances}×{self.intra_op_num_threads} threads"
        chunk = self.chunking.describe()
        placed = f"{name} · {self.engine} · {self.device} · {threads}"
        return f"{placed} · batch {self.batch.max_size} · chunk {chunk}{punctuated}"


def told_apart(deployments: Iterable[Deployment]) -> dict[Deployment, str]:
    """Each deployment's ``describe``, and behind it the settings by which it differs from others that read alike."""
    alike: dict[str, list[Deployment]] = {}
    for deployment in dict.fromkeys(deployments):
        alike.setdefault(deployment.describe(), []).append(deployment)
    found = {}
    for text, group in alike.items():
        settings = [_leaves(deployment.model_dump(mode="json")) for deployment in group]
        names = dict.fromkeys(name for own in settings for name in own)
        differing = [name for name in names if len({repr(own.get(name)) for own in settings}) > 1]
        for deployment, own in zip(group, settings, strict=True):
            shown = [f"{name} {str(own[name]).lower()}" for name in differing if own.get(name) is not None]
            found[deployment] = " · ".join([text, *shown])
    return found


def _leaves(values: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    """Settings by their dotted names, options by their own."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            found |= _leaves(value, "" if name.endswith("_options") else f"{name}.")
        else:
            found[f"{above}{name}"] = value
    return found


def baseline_deployment(
    *, ncpu: int, device: str = "cpu", language: Any = "auto", text_norm: Any = "woitn"
) -> Deployment:
    """``AutoModel(model, vad_model="silero-vad", ncpu=ncpu).generate(batch_size_s=300)``: FunASR's own path.

    Args:
        ncpu: FunASR's thread count; its default is 4 whatever the machine has.
        device: FunASR would silently turn an absent ``cuda`` into ``cpu``; the engine refuses instead.
        language: SenseVoice's language prompt.
        text_norm: its text normalisation prompt.
    """
    return Deployment(
        format="pytorch-fp32",
        weights=None,
        graph=None,
        engine="funasr",
        device=device,
        instances=1,
        intra_op_num_threads=ncpu,
        inter_op_num_threads=1,
        session_options={},
        provider_options={},
        batch=Batch(max_size=1, max_audio_s=300.0, max_wait_s=0.0),
        chunking=Chunking(method="funasr"),
        language=language,
        text_norm=text_norm,
    )
