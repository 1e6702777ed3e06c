"""When the warm-up stops, with a clock that the recognizer moves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from autotune.arrays import Float32
from autotune.audio import Recording
from autotune.audio.profile import Arrival
from autotune.measure.pacing import Busy, Together, is_steady, warm_up


@dataclass(frozen=True)
class Text:
    text: str = ""


class Heard:
    """A stream to ``Scripted``, which takes it for the file whose first sample tells its number."""

    def __init__(self, recognizer: Scripted) -> None:
        self._recognizer, self._samples = recognizer, list[float]()

    def feed(self, samples: Float32) -> None:
        self._samples += samples.tolist()

    def finish(self) -> Future[Text]:
        return self._recognizer.submit(Path(f"/{round(self._samples[0] * 10)}"))


class Scripted:
    """Every call takes the next scripted number of seconds of a clock of its own."""

    def __init__(self, seconds: list[float]) -> None:
        self._seconds = iter(seconds)
        self.clock = 0.0
        self.calls: list[Path] = []

    def transcribe(self, audio: Sequence[Path]) -> list[Text]:
        for path in audio:
            self.take(path)
        return [Text()] * len(audio)

    def transcription(self, audio: Sequence[Path], on_transcript: Callable[[int, Any], None]) -> Together:
        raise NotImplementedError("a warm-up needs no text before the others")

    def submit(self, audio: Path) -> Future[Text]:
        self.take(audio)
        future: Future[Text] = Future()
        future.set_result(Text())
        return future

    def stream(self) -> Heard:
        return Heard(self)

    def stats(self) -> Busy:
        raise NotImplementedError("it counts nothing")

    def take(self, path: Path) -> None:
        self.calls.append(path)
        self.clock += next(self._seconds)


def recordings(count: int) -> list[Recording]:
    return [Recording(id=str(n), path=f"/{n}", audio_s=1, arrival_s=0, text=None) for n in range(count)]


@pytest.mark.parametrize(
    ("seconds", "passes", "steady"),
    [
        ([5, 5, 5], 3, True),  # steady at once: two passes alone may agree by chance
        ([9, 2, 2.05, 2.1], 4, True),  # the first pass is cold
        ([2, 2, 2.2, 2, 2.05, 2.1], 6, True),  # all three must agree, not each with the next
        ([4, 2, 1, 0.5, 0.4, 0.3, 0.2, 0.1], 8, False),  # never steady: gives up after eight
        ([4, 2, 1, 0.5, 0.4, 0.2, 0.2, 0.2], 8, True),
        ([21], 1, False),  # past 20 s nobody repeats it
        ([19, 4], 2, False),
        ([9.9, 9.9, 9.9], 3, True),  # the pass that ends beyond 20 s counts
        ([0, 0, 0], 3, True),
    ],
)
@pytest.mark.parametrize("arrival", ["offline", "closed", "open"])
def test_it_stops_when_steady_or_after_eight_passes_or_20_s(
    seconds: list[float], passes: int, steady: bool, arrival: Arrival
) -> None:
    recognizer = Scripted(seconds)
    warmth = warm_up(recognizer, recordings(1), arrival, now=lambda: recognizer.clock)
    assert warmth.passes_s == pytest.approx(seconds[:passes])
    assert warmth.steady is steady


@pytest.mark.parametrize("arrival", ["offline", "closed", "open"])
def test_a_pass_is_every_recording_once(arrival: Arrival) -> None:
    recognizer = Scripted([1, 2] * 3)
    warmth = warm_up(recognizer, recordings(2), arrival, now=lambda: recognizer.clock)
    assert recognizer.calls == [Path("/0"), Path("/1")] * 3
    assert warmth.passes_s == (3, 3, 3)


def test_in_real_time_a_pass_goes_through_streams(tmp_path: Path) -> None:
    for number in range(2):
        soundfile.write(tmp_path / str(number), np.full(3_000, number / 10), 16_000, format="WAV", subtype="FLOAT")
    recognizer = Scripted([1, 2] * 3)
    files = [one.model_copy(update={"path": f"{tmp_path}{one.path}"}) for one in recordings(2)]
    warmth = warm_up(recognizer, files, "realtime", now=lambda: recognizer.clock)
    assert recognizer.calls == [Path("/0"), Path("/1")] * 3
    assert warmth.passes_s == (3, 3, 3)


def test_without_recordings_it_refuses() -> None:
    with pytest.raises(ValueError, match="at least one warm-up recording"):
        warm_up(Scripted([]), [], "closed")


@settings(deadline=None)
@given(st.lists(st.floats(0.001, 1000), min_size=3, max_size=9), st.floats(0.01, 100))
def test_steadiness_depends_on_the_last_three_passes_and_not_on_their_unit(passes: list[float], unit: float) -> None:
    last = passes[-3:]
    if abs((max(last) - min(last)) / max(last) - 0.05) > 1e-9:  # rounding may tip the boundary itself
        assert is_steady(passes) == is_steady(last) == is_steady(last[::-1])
        assert is_steady(passes) == is_steady([value * unit for value in passes])


@pytest.mark.parametrize("passes", [[], [1.0], [1.0, 1.0]])
def test_fewer_than_three_passes_show_nothing(passes: list[float]) -> None:
    assert not is_steady(passes)
