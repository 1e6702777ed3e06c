"""The reference: what fp32 PyTorch makes of a workload's audio, transcribed once and kept."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autotune.accuracy import ReferenceTexts
from autotune.audio import Recording, Shard, Turn, Workload, read_audio
from autotune.audio.reading import SAMPLE_RATE_HZ
from autotune.deployment import Batch, Chunking, Deployment, baseline_deployment
from autotune.documents import Document, parse_document
from autotune.errors import AutotuneError
from autotune.files import atomic_write, cache_dir
from autotune.hardware import HardwareProfile
from autotune.isolation import OnEvent, run_task
from autotune.measure.gpu_counters import gpu_watch
from autotune.measure.trial import TrialRequest, run_trial
from autotune.models import ModelInfo

if TYPE_CHECKING:
    from autotune.isolation.child import Emit

__all__ = ["CONTEXT_S", "ReferenceRequest", "TurnsRequest", "reference_texts", "transcribe_turns_task", "turn_spans"]


_RECIPES = {"turns": "turns/1", "baseline": "baseline/1"}
"""Versions of the ways to make texts; raised with every change that can change a text, so that kept texts are left."""

_START_S = 1200.0
"""Seconds that a reference may take beside the time for its audio."""
_SLOWEST = 10.0
"""Seconds that a reference may take for a second of audio."""


@dataclass(frozen=True)
class ReferenceRequest:
    """A workload, and the model that transcribes it for comparison."""

    model: ModelInfo
    workload: Workload
    hardware: HardwareProfile
    device: str
    language: str
    text_norm: str

    @property
    def recordings(self) -> tuple[Recording, ...]:
        """The recordings of all shards; those of the warm-up are never judged."""
        return tuple(recording for shard in self.workload.shards for recording in shard.recordings)

    @property
    def recipe(self) -> str:
        """``turns`` for embedded audio, ``baseline`` for the user's own, with the recipe's version."""
        return _RECIPES["turns" if any(recording.turns for recording in self.recordings) else "baseline"]


def reference_texts(request: ReferenceRequest, *, on_event: OnEvent | None = None) -> tuple[ReferenceTexts, bool]:
    """The reference's texts of all recordings, and whether they were known already.

    ``turns``: fp32 PyTorch, batch 1, each turn cut out at its true boundaries with at most 0.1 s around it.
    ``baseline``: the user's own files have no known boundaries, so FunASR's own path cuts them, segment by segment.
    Either runs in a child process; the texts lie in ``cache_dir()/references``, by model, workload and recipe.

    Raises:
        TrialError: the child failed.
        AutotuneError: what loading the model or reading the audio raised, or the cache can't be written.
    """
    path = cache_dir() / "references" / f"{_key(request)}.json"
    kept = _read(path, request)
    if kept is not None:
        return kept, True
    transcribed = (
        _of_turns(request, on_event) if request.recipe.startswith("turns") else _of_baseline(request, on_event)
    )
    content = json.dumps({"recipe": request.recipe, "texts": transcribed}, ensure_ascii=False)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        atomic_write(path, content.encode())
    except OSError as error:
        raise AutotuneError(
            f"The reference's texts must be written to {path.parent}, but: {error.strerror}. Free disk space there, "
            "or set XDG_CACHE_HOME."
        ) from error
    return transcribed, False


def _key(request: ReferenceRequest) -> str:
    parts = [
        request.model.sha256,
        request.workload.sha256,
        request.language,
        request.text_norm,
        request.recipe,
        # The kind of device alone: the number of a GPU says nothing of the texts.
        request.device.partition(":")[0],
    ]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:24]


def _read(path: Path, request: ReferenceRequest) -> ReferenceTexts | None:
    """The texts that lie at ``path``, if they are whole and of these recordings."""
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))["texts"]
        texts = {str(name): tuple(map(str, pieces)) for name, pieces in entries.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    wanted = {recording.id: max(1, len(recording.turns)) for recording in request.recordings}
    return texts if {name: len(pieces) for name, pieces in texts.items()} == wanted else None


def _of_turns(request: ReferenceRequest, on_event: OnEvent | None) -> dict[str, tuple[str, ...]]:
    threads = request.hardware.usable_cores
    deployment = Deployment.model_validate(
        {
            "format": "pytorch-fp32",
            "weights": None,
            "graph": None,
            "engine": "pytorch",
            "device": request.device,
            "instances": 1,
            "intra_op_num_threads": threads,
            "inter_op_num_threads": 1,
            "session_options": {"precision": "fp32"},
            "provider_options": {},
            "batch": Batch(max_size=1, max_audio_s=1.0, max_wait_s=0.0),
            "chunking": Chunking(method="none"),
            "language": request.language,
            "text_norm": request.text_norm,
        }
    )
    answer = run_task(
        "autotune.measure.reference:transcribe_turns_task",
        {
            "deployment": deployment.model_dump(mode="json"),
            "model_path": str(Path(request.model.path).absolute()),
            "recordings": [recording.model_dump(mode="json") for recording in request.recordings],
        },
        timeout_s=_timeout_s(request),
        on_event=on_event,
        cpus=request.hardware.cpus,
        threads=threads,
        watch=gpu_watch(request.device),
    )
    return {str(name): tuple(map(str, pieces)) for name, pieces in answer["texts"].items()}


def _of_baseline(request: ReferenceRequest, on_event: OnEvent | None) -> dict[str, tuple[str, ...]]:
    plain = baseline_deployment(
        ncpu=request.hardware.usable_cores, device=request.device, language=request.language
    ).model_dump()
    # FunASR batches segments on a GPU by seconds: with one second, each is a batch of its own.
    plain |= {"text_norm": request.text_norm, "batch": Batch(max_size=1, max_audio_s=1.0, max_wait_s=0.0)}
    # One recording a shard, and closed loop whatever the profile says: it is not timed, but shows how far it is.
    shards = tuple(
        Shard(index=index, recordings=(recording,), audio_s=recording.audio_s)
        for index, recording in enumerate(request.recordings)
    )
    measurement = run_trial(
        TrialRequest(
            deployment=Deployment.model_validate(plain),
            model_path=request.model.path,
            artifact_path=None,
            workload=request.workload.model_copy(update={"arrival": "closed", "shards": shards}),
            shards=tuple(range(len(shards))),
            repeats=1,
            keep_texts=True,
        ),
        hardware=request.hardware,
        timeout_s=_timeout_s(request),
        on_event=None if on_event is None else _Counted(on_event, len(shards)),
    )
    return {recording.id: (measurement.texts[recording.id],) for recording in request.recordings}


def _timeout_s(request: ReferenceRequest) -> float:
    return _START_S + _SLOWEST * sum(recording.audio_s for recording in request.recordings)


class _Counted:
    """Turns a trial's shard events into "3 of 12 recordings"."""

    def __init__(self, on_event: OnEvent, total: int) -> None:
        self._on_event, self._total, self._done = on_event, total, 0

    def __call__(self, name: str, data: dict[str, Any]) -> None:
        self._done += name == "shard"
        self._on_event(name, {**data, "text": f"{self._done} of {self._total} recordings"})


CONTEXT_S = 0.1
"""Seconds of audio kept on either side of a turn, but none of its neighbours': models expect a little silence."""


class TurnsRequest(Document):
    """The child's request: recordings, and the deployment that transcribes their turns."""

    deployment: Deployment
    model_path: str
    recordings: tuple[Recording, ...]


def transcribe_turns_task(payload: dict[str, Any], emit: Emit) -> dict[str, Any]:
    """The child's side: takes a TurnsRequest as JSON, returns ``texts``, recording id → one text for each turn."""
    from autotune.model_directory import ModelDirectory
    from autotune.recognizer import Recognizer

    request = parse_document(payload, TurnsRequest, where="the reference's request")
    texts: dict[str, list[str]] = {}
    # Never closed: the process ends with its result.
    recognizer = Recognizer.load(request.deployment, ModelDirectory.open(Path(request.model_path)), None)
    for done, recording in enumerate(request.recordings, start=1):
        samples = read_audio(Path(recording.path))
        pieces = [samples[start:stop] for start, stop in turn_spans(recording.turns, len(samples))]
        texts[recording.id] = [recognizer.transcribe([piece])[0].text for piece in pieces]
        emit("recording", {"text": f"{done} of {len(request.recordings)} recordings"})
    return {"texts": texts}


def turn_spans(turns: Sequence[Turn], samples: int) -> list[tuple[int, int]]:
    """First and last (exclusive) sample of each turn with its context; without turns, the whole recording.

    Args:
        turns: those of one recording, in order.
        samples: its length.
    """
    if not turns:
        return [(0, samples)]
    spans = []
    for turn in turns:
        before = max((other.end_s for other in turns if other.end_s <= turn.start_s), default=0.0)
        after = min((other.start_s for other in turns if other.start_s >= turn.end_s), default=samples / SAMPLE_RATE_HZ)
        start_s, stop_s = max(before, turn.start_s - CONTEXT_S), min(after, turn.end_s + CONTEXT_S)
        spans.append((max(0, round(start_s * SAMPLE_RATE_HZ)), min(samples, round(stop_s * SAMPLE_RATE_HZ))))
    return spans
