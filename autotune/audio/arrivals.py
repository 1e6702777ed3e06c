"""When load arrives: schedules on an absolute clock, pure functions of a seed."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from autotune.audio.dealing import arrival_times, generator
from autotune.audio.profile import ArrivalProcess
from autotune.errors import DocumentError

__all__ = ["Due", "poisson", "read_trace", "spoken"]

_AT_ONCE = 1024
"""Number of gaps that are drawn together."""


@dataclass(frozen=True)
class Due:
    """A recording that is to be sent."""

    at_s: float
    """Seconds after the run's start: when it is there whole, or begins to be spoken."""
    recording: int
    """Its place among the recordings."""


def poisson(rate: float, limit_s: float, recordings: int, seed: int) -> list[Due]:
    """Whole recordings at random times: exponential gaps of mean ``1 / rate`` seconds.

    A seed has one pattern, which a higher rate only compresses, so that two loads differ by their rate and not by luck.

    Args:
        rate: requests a second, >0.
        limit_s: all arrive before it.
        recordings: how many there are, ≥1; each is sent once before any is sent again, in another order every time.
        seed: ≥0.
    """
    order, gaps = _order(recordings, seed), _unit_gaps(seed)
    dues: list[Due] = []
    at_s = next(gaps) / rate
    while at_s < limit_s:
        dues.append(Due(at_s, next(order)))
        at_s += next(gaps) / rate
    return dues


def spoken(streams: int, limit_s: float, durations_s: Sequence[float], seed: int) -> list[Due]:
    """Recordings spoken in real time, ``streams`` at once.

    Streams begin at random within the first 3 s; when one has been spoken to its end the next begins, whatever the
    server is doing. The last ones are still being spoken at ``limit_s``.

    Args:
        streams: ≥1.
        limit_s: all begin before it.
        durations_s: of each recording, all >0.
        seed: ≥0.
    """
    needed = streams * (math.ceil(limit_s / min(durations_s)) + 1)
    order = list(itertools.islice(_order(len(durations_s), seed), needed))
    begins = arrival_times(
        ArrivalProcess(process="realtime", streams=streams),
        [durations_s[recording] for recording in order],
        generator(seed, "load-streams"),
    )
    return [
        Due(at_s, recording)
        for at_s, recording in sorted(zip(begins, order, strict=True), key=lambda pair: pair[0])
        if at_s < limit_s
    ]


def read_trace(path: Path, recordings: int, seed: int) -> list[Due]:
    """Arrivals from a text file: on each line the seconds after the start and, optionally, which recording (from 0).

    Commas count as spaces, ``#`` begins a comment, lines need not be in order. Without a number, recordings are dealt
    as for :func:`poisson`.

    Raises:
        DocumentError: not readable, no arrival in it, or a wrong line.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DocumentError(f"--trace must be a readable text file, but {path}: {error}") from error
    order = _order(recordings, seed)
    dues = []
    for number, line in enumerate(lines, start=1):
        words = line.partition("#")[0].replace(",", " ").split()
        if words:
            dues.append(_traced(words, f"{path}, line {number}", recordings, order))
    if not dues:
        raise DocumentError(f"--trace must hold at least one arrival, but {path} holds none. Write one a line: 0.25")
    return sorted(dues, key=lambda due: due.at_s)


def _traced(words: Sequence[str], where: str, recordings: int, order: Iterator[int]) -> Due:
    try:
        at_s = float(words[0])
        recording = int(words[1]) if len(words) > 1 else next(order)
    except ValueError:
        at_s, recording = math.nan, -1
    if len(words) > 2 or not 0 <= at_s < math.inf:
        raise DocumentError(
            f"{where} must hold seconds (≥0) and, optionally, a recording's number, but got {' '.join(words)!r}."
        )
    if not 0 <= recording < recordings:
        raise DocumentError(f"{where}: the recording must be in 0..{recordings - 1}, but got {recording}.")
    return Due(at_s, recording)


def _order(recordings: int, seed: int) -> Iterator[int]:
    """Every recording once, in a random order; then again in another one, without end."""
    for turn in itertools.count():
        yield from (int(place) for place in generator(seed, "load-order", turn).permutation(recordings))


def _unit_gaps(seed: int) -> Iterator[float]:
    draws = generator(seed, "load-gaps")
    while True:
        yield from (float(gap) for gap in draws.exponential(1.0, _AT_ONCE))
