"""A transcription: recordings that are all there, read by several threads and recognised together."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np

from autotune.recognizer.batching import OFFLINE
from autotune.recognizer.intake import AudioInput, Intake, sides_heard
from autotune.recognizer.scheduling import reading_order
from autotune.recognizer.sides import transcript_of
from autotune.recognizer.transcript import Transcript

__all__ = ["OnTranscript", "Transcription"]

OnTranscript = Callable[[int, Transcript], None]
"""Called with a recording's place in the list and its transcript; for each side of a call that is split."""


class Transcription:
    """Recordings that are transcribed together; made by ``Recognizer.transcription``.

    Each reading thread takes one whole recording after the other, so that as many are in flight as there are readers,
    in the order of ``reading_order``. The order of the results is that of the list.
    """

    def __init__(
        self, intake: Intake, audio: Sequence[AudioInput], readers: int, on_transcript: OnTranscript | None
    ) -> None:
        self._intake = intake
        self._recordings = [
            {side: intake.begin(OFFLINE, side=side) for side in sides_heard(one, intake.asked)} for one in audio
        ]
        pairs = zip(audio, self._recordings, strict=True)
        waiting = [(one, request) for one, sides in pairs for request in sides.values()]
        order = reading_order([0 if readers == 1 else _size(one) for one, _ in waiting], readers)
        self._waiting = deque(waiting[place] for place in order)
        self._readers = readers
        if on_transcript is not None:
            for place, sides in enumerate(self._recordings):
                for request in sides.values():
                    request.future.add_done_callback(partial(_hand_over, on_transcript, place))

    @property
    def done_s(self) -> float:
        """Seconds of audio whose texts are there."""
        return self._intake.done_s

    def result(self) -> list[Transcript]:
        """Read and transcribe all; one transcript each, in order.

        Raises:
            AudioError: an input cannot be read; names it. Nothing of this call runs any further.
            CancelledError: ``abandon`` was called meanwhile.
        """
        try:
            if self._readers == 1:
                self._read()
            else:
                with ThreadPoolExecutor(self._readers, thread_name_prefix="autotune-reader") as pool:
                    readers = [pool.submit(self._read) for _ in range(self._readers)]
                    self._watch(readers)
        except BaseException:
            self.abandon()
            raise
        return [transcript_of(self._intake.asked, sides) for sides in self._recordings]

    def abandon(self) -> None:
        """Give all of it up, from any thread: what waits is withdrawn, and ``result`` raises ``CancelledError``."""
        self._intake.abandon()

    def _read(self) -> None:
        reader = self._intake.reader()
        while not self._intake.gone:
            try:
                audio, request = self._waiting.popleft()
            except IndexError:
                break
            reader.take(audio, request)
        reader.flush()

    def _watch(self, readers: Sequence[Future[None]]) -> None:
        # The first that fails ends the others, inside of the pool's block: leaving it waits for all of them.
        try:
            for reader in readers:
                reader.result()
        except BaseException:
            self.abandon()
            raise


def _size(audio: AudioInput) -> int:
    """Bytes, without reading a file; one that isn't there is told of when it is its turn."""
    if not isinstance(audio, (str, Path)):
        return audio.nbytes if isinstance(audio, np.ndarray) else 0
    try:
        return Path(audio).stat().st_size
    except (OSError, ValueError):
        return 0


def _hand_over(on_transcript: OnTranscript, place: int, future: Future[Transcript]) -> None:
    if not future.exception():
        on_transcript(place, future.result())
