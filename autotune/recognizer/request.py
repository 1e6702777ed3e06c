"""One recording on its way: its segments go out, their texts come back, its future gets the transcript."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace
from functools import partial

from autotune.arrays import Float32
from autotune.audio.reading import SAMPLE_RATE_HZ
from autotune.options import Side
from autotune.recognizer.asked import NOTHING, Asked
from autotune.recognizer.chunking import Piece
from autotune.recognizer.decoding import Decoded, clean_text
from autotune.recognizer.dispatcher import SegmentJob
from autotune.recognizer.punctuating import Punctuated
from autotune.recognizer.punctuation import Punctuator
from autotune.recognizer.transcript import Place, Segment, Transcript, assemble, segment_of, with_punctuation

__all__ = ["Request"]


class Request:
    """Collects the texts of one recording's segments, in whatever order they come.

    It remembers where segments lie, not their samples. ``add`` and ``seal`` are called by whoever reads the
    recording, ``done`` by the dispatcher's threads.
    """

    def __init__(
        self,
        arrival_s: float,
        *,
        asked: Asked = NOTHING,
        side: Side = "mix",
        owner: object = None,
        together: bool = False,
        on_segment: Callable[[Segment], None] | None = None,
        punctuator: Punctuator | None = None,
    ) -> None:
        """Open a request without any segment.

        Args:
            arrival_s: ``time.perf_counter()`` when the recording arrived, or ``batching.OFFLINE``.
            asked: what it asks for beside its text.
            side: what is heard of the recording's channels.
            owner: the owner of its segments, see ``SegmentJob``; None: the request itself.
            together: see ``SegmentJob``.
            on_segment: called with each segment as soon as it and all before it are recognised, in order; only where
                segments don't overlap. By a dispatcher's thread, so it must be quick.
            punctuator: punctuates the whole text; or each segment as soon as it is recognised, where segments are
                handed out before the end.
        """
        self.future: Future[Transcript] = Future()
        self.side = side
        self._arrival_s = arrival_s
        self._asked = asked
        self._owner = self if owner is None else owner
        self._together = together
        self._on_segment = on_segment
        self._punctuator = punctuator
        self._by_segment = punctuator is not None and punctuator.by_segment and on_segment is not None
        self._handed_out = 0
        """Segments that ``on_segment`` has been called with, or is being called with."""
        self._handing_out = 0
        """Threads that are calling ``on_segment``: the transcript isn't given before they are through."""
        self._lock = threading.Lock()
        self._places: list[Place] = []
        self._decoded: dict[int, Decoded] = {}
        self._audio_s: float | None = None
        self._note = ""
        self._settled = False

    def add(self, piece: Piece, content: Float32, arrival_s: float | None = None) -> SegmentJob:
        """Take the recording's next segment, and make a job of it for the dispatcher.

        Args:
            piece: where it lies in the recording.
            content: what the engine gets of it, see ``SegmentJob``.
            arrival_s: when the segment arrived, if it came by itself; None: with its recording.
        """
        start_s = piece.start / SAMPLE_RATE_HZ
        end_s = piece.stop / SAMPLE_RATE_HZ
        with self._lock:
            position = len(self._places)
            self._places.append(Place(start_s, end_s, piece.shared / SAMPLE_RATE_HZ))
        return SegmentJob(
            content=content,
            audio_s=len(piece.samples) / SAMPLE_RATE_HZ,
            arrival_s=self._arrival_s if arrival_s is None else arrival_s,
            done=self._done,
            position=position,
            owner=self._owner,
            # A spoken segment arrived when it had been spoken: what lies before it must not put it off once more.
            before_s=start_s if arrival_s is None else 0.0,
            asked=self._asked,
            together=self._together,
        )

    def seal(self, samples: int, note: str = "") -> None:
        """No segment follows; the recording has ``samples`` samples, and its transcript gets the note."""
        with self._lock:
            self._note = note
            self._audio_s = samples / SAMPLE_RATE_HZ
        self._resolve()

    @property
    def done_s(self) -> float:
        """Seconds of the recording before the first segment without a text; all of it once the transcript is there."""
        with self._lock:
            if self.future.done() and self._audio_s is not None:
                return self._audio_s
            missing = next((at for at in range(len(self._places)) if at not in self._decoded), None)
            if missing is not None:
                return self._places[missing].start_s
            return self._places[-1].end_s if self._places else 0.0

    @property
    def unsettled_s(self) -> float | None:
        """Where the first segment begins that ``on_segment`` has not been called with; None: it has with all so far."""
        with self._lock:
            if self._handing_out:
                return 0.0  # a caller who keeps audio learns of it next time
            at = self._handed_out
            return self._places[at].start_s if at < len(self._places) else None

    def fail(self, error: BaseException) -> None:
        """Give up: the future raises ``error``, unless it is settled already."""
        with self._lock:
            settled, self._settled = self._settled, True
        if not settled:
            self.future.set_exception(error)

    def _done(self, position: int, result: Decoded | BaseException) -> None:
        if self._punctuator is None or not self._by_segment or isinstance(result, BaseException):
            self._take(position, result)
        else:
            self._punctuator.put(clean_text(result.text), partial(self._punctuated, position, result), self._owner)

    def _punctuated(self, position: int, decoded: Decoded, result: Punctuated | BaseException) -> None:
        self._take(position, result if isinstance(result, BaseException) else replace(decoded, punctuated=result))

    def _take(self, position: int, result: Decoded | BaseException) -> None:
        if isinstance(result, BaseException):
            self.fail(result)
            return
        with self._lock:
            self._decoded[position] = result
            settled = self._newly_settled()
            self._handing_out += 1
        # Without the lock, since it is the caller's code; ``_handing_out`` holds the transcript back meanwhile.
        try:
            for segment in settled:
                assert self._on_segment is not None
                self._on_segment(segment)
        finally:
            with self._lock:
                self._handing_out -= 1
        self._resolve()

    def _newly_settled(self) -> list[Segment]:
        """Segments whose text and those of all before them are there, each segment once."""
        settled: list[Segment] = []
        while self._on_segment is not None and self._handed_out in self._decoded:
            place = self._places[self._handed_out]
            if place.shared_s:
                break
            decoded = self._decoded[self._handed_out]
            self._handed_out += 1
            last = self._audio_s is not None and self._handed_out == len(self._places)
            settled.append(segment_of(place, decoded, last=last))
        return settled

    def _resolve(self) -> None:
        with self._lock:
            if self._settled or self._audio_s is None or self._handing_out or len(self._decoded) < len(self._places):
                return
            self._settled = True
            decoded = [self._decoded[position] for position in range(len(self._places))]
        try:
            transcript = replace(assemble(self._places, decoded, self._audio_s), note=self._note)
        except Exception as error:  # noqa: BLE001 - in a dispatcher's thread: it belongs to the caller waiting
            self.future.set_exception(error)
        else:
            self._finish(transcript)

    def _finish(self, transcript: Transcript) -> None:
        """Give the transcript, punctuated as a whole unless its segments are."""
        if self._punctuator is None or self._by_segment:
            self.future.set_result(transcript)
            return

        def done(result: Punctuated | BaseException) -> None:
            if isinstance(result, BaseException):
                self.future.set_exception(result)
            else:
                self.future.set_result(with_punctuation(transcript, result))

        self._punctuator.put(transcript.text, done, self._owner)
