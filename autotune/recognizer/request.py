"""One recording on its way: its segments go out, their texts come back, its future gets the transcript."""

from __future__ import annotations

import threading
from concurrent.futures import Future

from autotune.audio.reading import SAMPLE_RATE_HZ, Float32
from autotune.recognizer.chunking import Piece
from autotune.recognizer.decoding import Decoded
from autotune.recognizer.dispatcher import SegmentJob
from autotune.recognizer.transcript import Place, Transcript, assemble

__all__ = ["Request"]


class Request:
    """Collects the texts of one recording's segments, in whatever order they come.

    It remembers where segments lie, not their samples. ``add`` and ``seal`` are called by whoever reads the
    recording, ``done`` by the dispatcher's threads.
    """

    def __init__(self, arrival_s: float) -> None:
        self.future: Future[Transcript] = Future()
        self._arrival_s = arrival_s
        self._lock = threading.Lock()
        self._places: list[Place] = []
        self._decoded: dict[int, Decoded] = {}
        self._audio_s: float | None = None
        self._settled = False

    def add(self, piece: Piece, content: Float32, arrival_s: float | None = None) -> SegmentJob:
        """The next segment as a job for the dispatcher.

        Args:
            piece: where it lies.
            content: what the engine gets of it, see ``SegmentJob``.
            arrival_s: if it is another than the recording's.
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
            owner=self,
        )

    def seal(self, samples: int) -> None:
        """No segment follows; the recording has ``samples`` samples."""
        with self._lock:
            self._audio_s = samples / SAMPLE_RATE_HZ
        self._resolve()

    def _fail(self, error: BaseException) -> None:
        with self._lock:
            settled, self._settled = self._settled, True
        if not settled:
            self.future.set_exception(error)

    def _done(self, position: int, result: Decoded | BaseException) -> None:
        if isinstance(result, BaseException):
            self._fail(result)
            return
        with self._lock:
            self._decoded[position] = result
        self._resolve()

    def _resolve(self) -> None:
        with self._lock:
            if self._settled or self._audio_s is None or len(self._decoded) < len(self._places):
                return
            self._settled = True
            decoded = [self._decoded[position] for position in range(len(self._places))]
        try:
            transcript = assemble(self._places, decoded, self._audio_s)
        except Exception as error:  # noqa: BLE001 - in a dispatcher's thread: it belongs to the caller waiting
            self.future.set_exception(error)
        else:
            self.future.set_result(transcript)
