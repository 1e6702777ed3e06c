"""The punctuation stage: a thread that sets the marks of finished texts, those that wait together in one batch."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from autotune.deployment import Deployment
from autotune.engines.punctuation import PunctuationSession, read_vocabulary
from autotune.errors import DocumentError
from autotune.isolation.activity import running
from autotune.model_directory import PunctuationVocabulary
from autotune.recognizer.punctuating import Punctuated, Punctuating, punctuate
from autotune.recognizer.stats import PUNCTUATION, Stats

__all__ = ["OnPunctuated", "Punctuator", "load_punctuator"]

OnPunctuated = Callable[[Punctuated | BaseException], None]
"""Called with a text's punctuation, or with what prevented it."""

MOST_TOKENS = 2048
"""Most padded tokens in one batch: some fifty texts at once, and little memory."""
_WARMED = ((20,), (20,) * 8, (60,))
"""Tokens of the rows of each batch of a warm-up."""


@dataclass
class _Text:
    """A text that is being punctuated."""

    steps: Punctuating
    ids: Sequence[int]
    """What is to be classified next."""
    done: OnPunctuated
    owner: object


class Punctuator:
    """Punctuates texts in a thread of its own. Thread-safe; owns its session and its thread until ``close``.

    Every step of a text needs the step before it, so a batch holds the next step of each text that is under way.
    """

    def __init__(
        self, session: PunctuationSession, vocabulary: PunctuationVocabulary, stats: Stats, *, by_segment: bool
    ) -> None:
        """Start the thread; ``by_segment`` says whether segments can be punctuated before their recording ends."""
        self.by_segment = by_segment
        self.tell: Callable[[Sequence[object]], None] = lambda _: None
        """Called with the owners of a batch's texts before it runs, and with none after it; must be quick."""
        self._session, self._vocabulary, self._stats = session, vocabulary, stats
        self._changed = threading.Condition()
        self._waiting: deque[tuple[str, OnPunctuated, object]] = deque()
        self._closed = False
        self._thread = threading.Thread(target=self._work, name="autotune-punctuation", daemon=True)
        self._thread.start()

    def put(self, text: str, done: OnPunctuated, owner: object) -> None:
        """Queue a text of an owner, see ``SegmentJob``; ``done`` is called by this stage's thread."""
        with self._changed:
            if not self._closed:
                self._waiting.append((text, done, owner))
                self._changed.notify_all()
                return
        done(_closed())

    def warm_up(self) -> None:
        """Run a few batches, before anything is punctuated."""
        for lengths in _WARMED:
            self._session.classify([[self._vocabulary.unknown] * length for length in lengths])

    def close(self) -> None:
        """Let the running batch finish, fail what waits, end the thread, free the session; idempotent."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        if self._thread is not threading.current_thread():
            self._thread.join()
        self._session.close()

    def _work(self) -> None:
        active: deque[_Text] = deque()
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closed or active or self._waiting)
                new = list(self._waiting)
                self._waiting.clear()
                if self._closed:
                    break
            with self._stats.working(), self._stats.stage(PUNCTUATION):
                active.extend(text for text in (_begun(*one, self._vocabulary) for one in new) if text is not None)
                if active:
                    self._step(active)
        for _, done, _ in new:
            done(_closed())
        for text in active:
            text.done(_closed())

    def _step(self, active: deque[_Text]) -> None:
        """Classify the next step of the oldest texts; those that aren't finished go on at the end."""
        batch = [active.popleft()]
        longest = len(batch[0].ids)
        while active and (len(batch) + 1) * max(longest, len(active[0].ids)) <= MOST_TOKENS:
            batch.append(active.popleft())
            longest = max(longest, len(batch[-1].ids))
        self.tell([text.owner for text in batch])
        try:
            with running("batch"):
                classes = self._session.classify([text.ids for text in batch])
        except Exception as error:  # noqa: BLE001 - whatever a runtime raises belongs to the callers waiting
            for text in batch:
                text.done(error)
            return
        finally:
            self.tell(())
        for text, found in zip(batch, classes, strict=True):
            try:
                text.ids = text.steps.send(found)
            except StopIteration as end:
                text.done(end.value)
            else:
                active.append(text)


def load_punctuator(deployment: Deployment, folder: Path | None, stats: Stats) -> Punctuator | None:
    """The punctuation stage of a deployment; None without one, or where FunASR's own path does it itself.

    Args:
        deployment: what is loaded.
        folder: the exported punctuation model.
        stats: gets its core-seconds.

    Raises:
        DocumentError: no exported model is given.
        EngineUnavailableError, ModelError, TrialMismatch: see ``PunctuationSession``.
    """
    stage = deployment.punctuation
    if stage is None or deployment.engine == "funasr":
        return None
    if folder is None:
        raise DocumentError("A deployment with punctuation must be loaded with its exported model, but none was given.")
    vocabulary = read_vocabulary(folder)
    # What neighbouring windows share is known only with the whole: its segments can't be punctuated alone.
    by_segment = not deployment.chunking.overlap_s
    return Punctuator(PunctuationSession(folder, stage.threads), vocabulary, stats, by_segment=by_segment)


def _begun(text: str, done: OnPunctuated, owner: object, vocabulary: PunctuationVocabulary) -> _Text | None:
    """The text with its first step; None where it has no word, and is done."""
    steps = punctuate(text, vocabulary)
    try:
        return _Text(steps, next(steps), done, owner)
    except StopIteration as end:
        done(end.value)
        return None


def _closed() -> RuntimeError:
    return RuntimeError("the recognizer was closed before this text was punctuated")
