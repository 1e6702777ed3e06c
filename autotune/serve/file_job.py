"""A recording in a file that a worker transcribes: accepted, and not answered yet."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from autotune.audio.sound_part import MOST_S
from autotune.recognizer import Segment, Transcript
from autotune.recognizer.admission import Rejected
from autotune.recognizer.asked import Asked
from autotune.serve.wire import BackendError, Message, error_of, segment_from, transcript_from

__all__ = ["UNCONDITIONAL", "FileJob", "Opening"]


@dataclass(frozen=True)
class Opening:
    """What happens once a worker knows how long a recording is."""

    admit: Callable[[float, int], None] = lambda _, __: None
    """Called once with its seconds, and how many of its sides are recognised; raises Rejected where none is to be."""
    most_s: float = MOST_S
    """Seconds behind which it isn't decoded any further for its length."""


UNCONDITIONAL = Opening()
"""Whatever the worker opens is admitted."""


@dataclass
class FileJob:
    """A file that is accepted and not answered yet."""

    number: int
    path: Path
    asked: Asked
    on_segment: Callable[[Segment], None] | None
    opening: Opening
    future: asyncio.Future[Transcript]
    send: Callable[[Message], None]
    admitted: bool = False
    """Whether ``opening`` has admitted it, whichever worker opened it."""
    begun: bool = False
    """Whether the present worker has it."""
    suspect: bool = False
    """Whether a worker died while it had this job at work."""
    busy: bool = False
    """Whether the worker opens or reads it."""
    attempts: int = 0
    """Workers that died while they had it at work."""
    told: int = 0
    """Segments that ``on_segment`` has been called with."""
    skipped: int = 0
    """Of those, how many the present worker has sent again."""

    @property
    def over(self) -> bool:
        """Whether it is answered, or given up."""
        return self.future.done()

    def begin(self) -> None:
        """Give it to the present worker."""
        self.begun = self.busy = True
        self.skipped = 0
        self.send(
            {
                "op": "file",
                "id": self.number,
                "path": str(self.path),
                "asked": asdict(self.asked),
                "segments": self.on_segment is not None,
                "most_s": self.opening.most_s,
            }
        )

    def lost(self) -> None:
        """The worker that had it is gone."""
        self.begun = self.busy = False

    def blame(self, attempts: int) -> None:
        """A worker died while it had this job at work; it fails once ``attempts`` have."""
        self.attempts += 1
        self.suspect = True
        if self.attempts >= attempts:
            self.fail(BackendError("The recognizer failed twice on this recording."))

    def fail(self, error: Exception) -> None:
        """Answer with an error, unless it is answered."""
        if not self.future.done():
            self.future.set_exception(error)

    def receive(self, message: Message) -> None:
        """Take what the present worker sent of it."""
        if self.future.done():
            return
        if "opened" in message:
            self._opened(message["opened"], message["sides"])
        elif "read" in message:
            self.busy = False
        elif "segment" in message:
            # A worker that replaces another begins anew; the same recording is cut in the same way.
            if self.skipped < self.told:
                self.skipped += 1
            elif self.on_segment is not None:
                self.told += 1
                self.skipped += 1
                self.on_segment(segment_from(message["segment"]))
        elif "done" in message:
            self.future.set_result(transcript_from(message["done"]))
        elif "error" in message:
            self.future.set_exception(error_of(message["error"]))

    def _opened(self, audio_s: float, sides: int) -> None:
        """Have the worker go on with a recording that is admitted; one that replaces another asks again."""
        if not self.admitted:
            try:
                self.opening.admit(audio_s, sides)
            except Rejected as rejected:
                self.fail(rejected)
                return
            self.admitted = True
        self.send({"op": "go", "id": self.number})
