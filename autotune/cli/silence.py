"""Silence: in a log, a line about what is being done wherever nothing else has been printed for a while."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

__all__ = ["FIRST_S", "LogSilence", "Silence"]

FIRST_S = 10.0
"""Seconds without a line after which a user wonders whether anything is going on."""
SHARE = 0.5
"""Later lines of one piece of work come when it has grown by this share: an hour of it needs no line every 10 s."""


class Silence:
    """Says when a line is due, and which; pure. Times are seconds of any clock that only goes forward."""

    def __init__(self, now_s: float, first_s: float = FIRST_S) -> None:
        self._text, self._detail = "", ""
        self._first_s, self._begun_s, self._printed_s = first_s, now_s, now_s

    def working(self, now_s: float, text: str, detail: str) -> None:
        """Note what is being done; an empty ``text`` means nothing. It is older than its detail."""
        if text != self._text:
            self._begun_s = now_s
        self._text, self._detail = text, detail

    def printed(self, now_s: float) -> None:
        """Note that a line was printed."""
        self._printed_s = now_s

    def due_s(self, now_s: float) -> float | None:
        """Seconds until a line is due, at most 0 if it is; None while nothing is being done."""
        if not self._text:
            return None
        return self._printed_s + max(self._first_s, SHARE * (self._printed_s - self._begun_s)) - now_s

    def line(self, now_s: float) -> str:
        """``FunASR AutoModel, ncpu=4, cpu: measuring (20 s so far)``."""
        work = f"{self._text}: {self._detail}" if self._detail else self._text
        since_s = now_s - self._begun_s
        return f"{work} ({since_s:.0f} s so far)" if since_s >= 1 else work


class LogSilence:
    """Prints the lines of a ``Silence`` from a thread of its own, which sleeps until one is due."""

    def __init__(self, show: Callable[[str], None], first_s: float = FIRST_S) -> None:
        self._show = show
        self._silence = Silence(time.monotonic(), first_s)
        self._changed = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="log-silence", daemon=True)

    def start(self) -> None:
        """Start the thread that prints; before that, what is noted counts already."""
        self._thread.start()

    def working(self, text: str, detail: str) -> None:
        """Note what is being done."""
        with self._changed:
            self._silence.working(time.monotonic(), text, detail)
            self._changed.notify()

    def printed(self) -> None:
        """Note that a line was printed."""
        with self._changed:
            self._silence.printed(time.monotonic())

    def close(self) -> None:
        """End the thread; idempotent."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        with self._changed:
            while not self._closed:
                due_s = self._silence.due_s(time.monotonic())
                if due_s is None or due_s > 0:
                    self._changed.wait(due_s)
                    continue
                self._show(self._silence.line(time.monotonic()))
                self._silence.printed(time.monotonic())
