"""The reference's child process: every turn of a workload on its own, one after another."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autotune.audio.reading import SAMPLE_RATE_HZ, read_audio
from autotune.audio.workload import Recording, Turn
from autotune.deployment import Deployment
from autotune.documents import Document, parse_document

if TYPE_CHECKING:
    from autotune.isolation.child import Emit

__all__ = ["TurnsRequest", "transcribe_turns_task", "turn_spans"]

CONTEXT_S = 0.1
"""Around a turn: a model trained on whole utterances expects a little silence; never a part of the neighbour."""


class TurnsRequest(Document):
    """What to transcribe how."""

    deployment: Deployment
    model_path: str
    recordings: tuple[Recording, ...]


def transcribe_turns_task(payload: dict[str, Any], emit: Emit) -> dict[str, Any]:
    """A TurnsRequest as JSON in; ``texts``: recording id → one text a turn, out."""
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
        turns: of one recording.
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
