"""Hearing: recordings are transcribed for their texts alone, in children of their own; nothing is timed."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autotune.audio import Recording, Turn, read_audio
from autotune.audio.reading import SAMPLE_RATE_HZ
from autotune.deployment import Deployment
from autotune.documents import parse_document
from autotune.hardware import HardwareProfile
from autotune.isolation import OnEvent, Stop, side_by_side
from autotune.measure.model_request import ModelRequest

if TYPE_CHECKING:
    from autotune.isolation.child import Emit

__all__ = ["CONTEXT_S", "HearingRequest", "hear", "hear_side_by_side", "hear_task", "turn_spans"]

_START_S = 1200.0
"""Seconds that a hearing may take beside the time for its audio."""
_SLOWEST = 10.0
"""Seconds that a hearing may take for a second of audio."""
_MOST_PROCESSES = 16
"""Most children side by side: each of them holds the model."""


class HearingRequest(ModelRequest):
    """Recordings, and the deployment that transcribes them."""

    recordings: tuple[Recording, ...]
    by_turns: bool = False
    """Whether each turn is cut out at its true boundaries and transcribed alone."""
    together: bool = False
    """Whether all recordings are there at once, so that batches form as deployed."""


def hear(
    request: HearingRequest, hardware: HardwareProfile, *, on_event: OnEvent | None = None, stop: Stop | None = None
) -> dict[str, tuple[str, ...]]:
    """Recording id → its text, or the text of each of its turns, as a child transcribes them.

    Args:
        request: relative paths count from this process's working directory.
        hardware: whose CPUs the child is bound to.
        on_event: gets ``recording`` {} after each one, unless they are transcribed together.
        stop: lets another thread end it.

    Raises:
        TrialError: the child failed, see ``run_task``.
        AutotuneError: whatever loading or reading raised in the child.
    """
    answer = request.run(
        "autotune.measure.hearing:hear_task",
        hardware,
        timeout_s=_START_S + _SLOWEST * sum(recording.audio_s for recording in request.recordings),
        on_event=on_event,
        stop=stop,
    )
    return {str(name): tuple(map(str, pieces)) for name, pieces in answer["texts"].items()}


def hear_side_by_side(
    request: HearingRequest, hardware: HardwareProfile, *, model_bytes: int, on_event: OnEvent | None = None
) -> dict[str, tuple[str, ...]]:
    """As ``hear``, by as many children as there are cores and memory for, each with a part of the recordings.

    Args:
        request: its deployment runs in every child, so with one thread.
        hardware: whose cores and memory are used.
        model_bytes: size of the model's weights.
        on_event: gets ``recording`` {text} after each one, in this thread.
    """
    parts = _dealt(request.recordings, _processes(request.deployment, hardware, model_bytes))
    done = 0

    def count(_: str, __: dict[str, Any]) -> None:
        nonlocal done
        done += 1
        if on_event is not None:
            on_event("recording", {"text": f"{done} of {len(request.recordings)} recordings"})

    jobs = [partial(_part, request.model_copy(update={"recordings": part}), hardware) for part in parts]
    texts = {name: pieces for result in side_by_side(jobs, count) for name, pieces in result.items()}
    return {recording.id: texts[recording.id] for recording in request.recordings}


def _part(
    request: HearingRequest, hardware: HardwareProfile, on_event: OnEvent, stop: Stop
) -> dict[str, tuple[str, ...]]:
    return hear(request, hardware, on_event=on_event, stop=stop)


def _processes(deployment: Deployment, hardware: HardwareProfile, model_bytes: int) -> int:
    if deployment.device != "cpu":
        return 1
    # Python, torch and FunASR take a gigabyte; loading holds the weights twice.
    room = hardware.memory_bytes // (2 * (2**30 + 3 * model_bytes))
    return max(1, min(hardware.usable_cores, room, _MOST_PROCESSES))


def _dealt(recordings: Sequence[Recording], processes: int) -> list[tuple[Recording, ...]]:
    """The recordings in parts of like duration, at most ``processes``."""
    parts: list[list[Recording]] = [[] for _ in range(min(processes, len(recordings)))]
    for recording in sorted(recordings, key=lambda recording: -recording.audio_s):
        min(parts, key=lambda part: sum(item.audio_s for item in part)).append(recording)
    return [tuple(part) for part in parts]


def hear_task(payload: dict[str, Any], emit: Emit) -> dict[str, Any]:
    """The child's side: takes a HearingRequest as JSON, returns ``texts``, recording id → one text for each piece."""
    request = parse_document(payload, HearingRequest, where="the hearing's request")
    # Never closed: the process ends with its result.
    recognizer = request.load()
    paths = [Path(recording.path) for recording in request.recordings]
    if request.together:
        transcripts = recognizer.transcribe(paths)
        return {
            "texts": {item.id: [whole.recognized] for item, whole in zip(request.recordings, transcripts, strict=True)}
        }
    texts: dict[str, list[str]] = {}
    for recording, path in zip(request.recordings, paths, strict=True):
        pieces: Sequence[Any] = [path]
        if request.by_turns:
            samples = read_audio(path)
            pieces = [samples[start:stop] for start, stop in turn_spans(recording.turns, len(samples))]
        texts[recording.id] = [recognizer.transcribe([piece])[0].recognized for piece in pieces]
        emit("recording", {})
    return {"texts": texts}


CONTEXT_S = 0.1
"""Seconds of audio kept on either side of a turn, but none of its neighbours': models expect a little silence."""


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
