"""The engine contract: what executes an artifact, and what it must say of what really ran."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol

from autotune.arrays import Float32, Int32
from autotune.deployment import Deployment
from autotune.model_directory import ModelDirectory

__all__ = ["Consumed", "Engine", "EngineFacts", "EngineInput", "EngineOutput", "EngineRequest", "HotWordIds"]

HotWordIds = tuple[tuple[int, ...], ...]
"""Token ids of each hot word of a segment, ``<s>`` the last; empty where it has none."""

Consumed = Literal["features", "waveforms"]
"""What of a recording an engine is given: features of the front end, or samples for a front end of its own."""


@dataclass(frozen=True)
class EngineRequest:
    """What an engine is loaded from."""

    deployment: Deployment
    model: ModelDirectory
    artifact: Path | None
    """The exported file; None for formats that run from the model directory."""
    punctuation: Path | None = None
    """The directory of the punctuation model, for FunASR's own path; None without one."""
    hot_words: tuple[str, ...] | None = None
    """Hot words of every request, which an engine that consumes waveforms is given here alone; None: batches have
    none."""
    hot_words_artifact: Path | None = None
    """The exported file for them, the encoder of words beside it; None for formats that aren't exported."""


@dataclass(frozen=True)
class EngineInput:
    """One batch. Engines that consume features read the first two, those that consume waveforms the third."""

    features: Float32 | None = None
    """float32 [batch, frames, feature_dim], zero-padded at the end."""
    lengths: Int32 | None = None
    """int32 [batch]: valid frames, each ≥1."""
    waveforms: tuple[Float32, ...] = ()
    """16 kHz mono, float32 in −1..1, one array [samples] each."""

    prompts: tuple[tuple[str, str], ...] = ()
    """SenseVoice's language and text normalisation of each segment; empty: the deployment's."""

    hot_words: tuple[HotWordIds, ...] = ()
    """Each segment's hot words; empty: none of the batch has any."""

    times: bool = False
    """Whether ``EngineOutput.alphas`` are wanted, where the model has them (``ModelDirectory.gives_times``)."""

    @property
    def size(self) -> int:
        """Number of segments in the batch."""
        return len(self.waveforms) if self.lengths is None else len(self.lengths)


@dataclass(frozen=True)
class EngineOutput:
    """What an engine gives for a batch: one entry for each segment, in the order of the input.

    Engines that consume features give ``ids`` and ``lengths`` (SenseVoice: argmax of each frame, the first four are
    language, emotion, event and text-norm tags; Paraformer: one id a token). Engines that consume waveforms give
    ``texts``.
    """

    ids: Int32 | None = None
    """int32 [batch, positions]: argmax over the vocabulary."""
    lengths: Int32 | None = None
    """int32 [batch]: valid positions."""
    scores: Float32 | None = None
    """float32 [batch, positions, vocabulary], only when asked for (parity checks)."""
    alphas: tuple[Float32, ...] = ()
    """FunASR's ``us_alphas``, float32 [3 × valid frames] of each segment: the weights of its second CIF, whose sum is
    the number of tokens. Only when asked for."""
    texts: tuple[str, ...] = ()
    """Raw texts, tags included, as FunASR gives them."""
    punctuated: tuple[str, ...] = ()
    """The same with FunASR's own punctuation; empty without a punctuation model."""


@dataclass(frozen=True)
class EngineFacts:
    """What really ran, read back from the runtime, never from the request."""

    runtime: str
    """Name and version, for example ``onnxruntime 1.31.1``."""
    device: str
    """``cpu`` or ``cuda:N``, as the runtime reports it."""
    intra_op_num_threads: int
    inter_op_num_threads: int
    details: dict[str, Any] = field(default_factory=dict)
    """Engine-specific: providers, provider options, nodes per provider, graph optimisation level, …"""


class Engine(Protocol):
    """Executes batches of one model in one format.

    **Ownership.** ``load`` builds everything (weights, sessions, threads) and owns it until ``close``; an engine is
    used by one thread at a time, and ``run`` is not re-entrant. Separate engines may run at the same time, but for the
    first call of a process: see ``load_engine``. ``close`` may be called twice; after it only ``close`` is allowed.
    Inputs are read, never written; outputs belong to the caller.

    **Honesty.** ``load`` raises ``TrialMismatch`` unless provider, device, threads and options of the deployment are
    in force; ``facts`` reports what was read back.
    """

    name: ClassVar[str]
    consumes: ClassVar[Consumed]
    SESSION_OPTIONS: ClassVar[dict[str, tuple[str | bool, ...]]]
    """Every accepted key of ``deployment.session_options`` with its values; all keys must be given."""
    NEUTRAL_OPTIONS: ClassVar[dict[str, str | bool]]
    """Values that a deployment has of those session options that a search space doesn't name."""
    PROVIDER_OPTIONS: ClassVar[dict[str, dict[str, tuple[str, ...]]]]
    """Kind of device → every accepted key of ``deployment.provider_options`` with its values; none need be given."""
    TAKES_HOT_WORDS: ClassVar[bool]
    """Whether it can run a model that ``takes_hot_words`` with them; if it consumes waveforms, with the same ones
    always."""
    PINS_ITSELF: ClassVar[bool]
    """Whether the runtime carries ``deployment.pinning`` out itself; it must then see all CPUs while it loads."""

    @classmethod
    def load(cls, request: EngineRequest) -> Engine:
        """Load and verify.

        Raises:
            EngineUnavailableError: the runtime or the device is missing; names what to install.
            DocumentError: an option is unknown or out of range.
            ModelError: the model's files are damaged.
            TrialMismatch: something asked for is not in force.
        """
        ...

    def twin(self) -> Engine:
        """Another instance of the same deployment, for a thread of its own; shares weights where the runtime can.

        Raises what ``load`` raises.
        """
        ...

    def run(self, batch: EngineInput, *, scores: bool = False) -> EngineOutput:
        """Execute one batch; ``scores=True`` also returns the raw scores. Raises RuntimeError of the runtime."""
        ...

    def facts(self) -> EngineFacts:
        """The settings that are in force, read back from the runtime."""
        ...

    def close(self) -> None:
        """Free weights, sessions and threads; idempotent. ``run`` raises afterwards."""
        ...
