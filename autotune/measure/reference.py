"""Texts that deployments are compared with: fp32 PyTorch's and FunASR's default's, transcribed once and kept."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from autotune.accuracy import ReferenceTexts
from autotune.audio import Recording, Workload
from autotune.baselines import given_deployment
from autotune.deployment import Batch, Chunking, Deployment, baseline_deployment
from autotune.errors import AutotuneError
from autotune.files import atomic_write, cache_dir, private_directory
from autotune.hardware import HardwareProfile
from autotune.isolation import OnEvent
from autotune.measure.hearing import HearingRequest, hear_side_by_side
from autotune.measure.trial import require_texts
from autotune.model_directory import Given, ModelDirectory
from autotune.models import ModelInfo

__all__ = ["ReferenceRequest", "baseline_texts", "reference_texts"]

_RECIPES = {"turns": "turns/1", "baseline": "baseline/1"}
"""Versions of the ways to make texts; raised with every change that can change a text, so that kept texts are left."""
_BYTES_PER_PARAMETER = 4


@dataclass(frozen=True)
class ReferenceRequest:
    """A workload, and the model that transcribes it for comparison: in fp32 PyTorch, or by its ONNX file alone."""

    model: ModelInfo
    workload: Workload
    hardware: HardwareProfile
    device: str
    language: str
    text_norm: str

    @property
    def recordings(self) -> tuple[Recording, ...]:
        """The workload's judged recordings."""
        return self.workload.judged

    @property
    def recipe(self) -> str:
        """How fp32 PyTorch's texts are made: ``turns`` for embedded audio, ``baseline`` for the user's own."""
        return "turns" if any(recording.turns for recording in self.recordings) else "baseline"


def reference_texts(request: ReferenceRequest, *, on_event: OnEvent | None = None) -> tuple[ReferenceTexts, bool]:
    """The reference's texts of all judged recordings, and whether they were known already.

    ``turns``: fp32 PyTorch, batch 1, each turn cut out at its true boundaries with at most 0.1 s around it.
    ``baseline``: the user's own files have no known boundaries, so FunASR's own path cuts them, segment by segment.
    Either runs in child processes; the texts lie in ``cache_dir()/references``, by model, workload and recipe.

    Raises:
        TrialError: a child failed.
        TrialMismatch: FunASR's own path gave no text at all.
        AutotuneError: what loading the model or reading the audio raised, or the cache can't be written.
    """
    return _texts(request, request.recipe, on_event)


def baseline_texts(request: ReferenceRequest, *, on_event: OnEvent | None = None) -> tuple[dict[str, str], bool]:
    """What FunASR's default makes of all judged recordings, as ``reference_texts``; recording id → text."""
    texts, known = _texts(request, "baseline", on_event)
    return {name: pieces[0] for name, pieces in texts.items()}, known


def _texts(request: ReferenceRequest, recipe: str, on_event: OnEvent | None) -> tuple[ReferenceTexts, bool]:
    path = cache_dir() / "references" / f"{_key(request, recipe)}.json"
    kept = _read(path, request, recipe)
    if kept is not None:
        return kept, True
    given = next(iter(ModelDirectory.open(Path(request.model.path)).given.items()), None)
    deployment = _of_turns(request, given) if recipe == "turns" else _of_baseline(request, given)
    transcribed = hear_side_by_side(
        HearingRequest(
            deployment=deployment,
            model_path=request.model.path,
            artifact_path=None if given is None else str(given[1]),
            recordings=request.recordings,
            by_turns=recipe == "turns",
            hot_words=request.workload.hot_words,
        ),
        request.hardware,
        model_bytes=_BYTES_PER_PARAMETER * request.model.parameters,
        on_event=on_event,
    )
    if recipe == "baseline":
        require_texts({name: pieces[0] for name, pieces in transcribed.items()})
    content = json.dumps({"recipe": _RECIPES[recipe], "texts": transcribed}, ensure_ascii=False)
    try:
        private_directory(path.parent)
        atomic_write(path, content.encode(), mode=0o600)
    except OSError as error:
        raise AutotuneError(
            f"The reference's texts must be written to {path.parent}, but: {error.strerror}. Free disk space there, "
            "or set XDG_CACHE_HOME."
        ) from error
    return transcribed, False


def _key(request: ReferenceRequest, recipe: str) -> str:
    parts: list[object] = [
        request.model.sha256,
        request.workload.hearing_sha256 or request.workload.sha256,
        request.language,
        request.text_norm,
        _RECIPES[recipe],
        # The kind of device alone: the number of a GPU says nothing of the texts.
        request.device.partition(":")[0],
    ]
    # Left out where there are none: texts that were kept before there were any are still used.
    parts += ["hot words", *request.workload.hot_words] if request.workload.hot_words else []
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:24]


def _read(path: Path, request: ReferenceRequest, recipe: str) -> ReferenceTexts | None:
    """The texts that lie at ``path``, if they are whole and of these recordings."""
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))["texts"]
        texts = {str(name): tuple(map(str, pieces)) for name, pieces in entries.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    by_turns = recipe == "turns"
    wanted = {recording.id: max(1, len(recording.turns)) if by_turns else 1 for recording in request.recordings}
    return texts if {name: len(pieces) for name, pieces in texts.items()} == wanted else None


def _of_turns(request: ReferenceRequest, given: tuple[Given, Path] | None) -> Deployment:
    if given is not None:
        return _of_baseline(request, given).model_copy(update={"chunking": Chunking(method="none")})
    return Deployment.model_validate(
        {
            "format": "pytorch-fp32",
            "weights": None,
            "graph": None,
            "engine": "pytorch",
            "device": request.device,
            "instances": 1,
            "intra_op_num_threads": 1,
            "inter_op_num_threads": 1,
            "session_options": {"precision": "fp32"},
            "provider_options": {},
            "batch": Batch(max_size=1, max_audio_s=1.0, max_wait_s=0.0),
            "chunking": Chunking(method="none"),
            "language": request.language,
            "text_norm": request.text_norm,
        }
    )


def _of_baseline(request: ReferenceRequest, given: tuple[Given, Path] | None) -> Deployment:
    prompts = {"language": request.language, "text_norm": request.text_norm}
    if given is not None:
        return given_deployment(given[0], ncpu=1, device=request.device, **prompts)
    # With one thread, since several run side by side: how many there are changes no text.
    plain = baseline_deployment(ncpu=1, device=request.device, **prompts)
    # FunASR batches segments on a GPU by seconds: with one second, each is a batch of its own.
    return plain.model_copy(update={"batch": Batch(max_size=1, max_audio_s=1.0, max_wait_s=0.0)})
