"""The sides of a call, each recognised by itself."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from autotune.arrays import Float32
from autotune.errors import AudioError
from autotune.recognizer import Recognizer, Segment, Transcript
from autotune.recognizer.sides import conversation

MakeRecognizer = Callable[..., Recognizer]


def said(*segments: tuple[float, str]) -> Transcript:
    parts = tuple(Segment(start, start + 1, text, text) for start, text in segments)
    return Transcript(" ".join(text for _, text in segments), parts, 9.0)


def test_turns_are_lines_in_the_order_of_speech() -> None:
    whole = conversation(
        {"left": said((0, "good day"), (1.5, ""), (6, "bye")), "right": said((1, "hello"), (3, "yes"))}
    )
    assert whole.text == "left: good day\nright: hello yes\nleft: bye"
    assert [segment.channel for segment in whole.segments] == ["left", "right", "left", "right", "left"]
    assert (whole.audio_s, whole.note) == (9.0, "")


@pytest.mark.parametrize("readers", [1, 2])
def test_each_side_has_the_text_that_it_has_alone(
    fake_recognizer: MakeRecognizer, speech: Float32, tmp_path: Path, readers: int
) -> None:
    half = len(speech) // 2
    left, right = np.zeros_like(speech), np.zeros_like(speech)
    left[:half], right[half:] = speech[:half], speech[half:]
    call = tmp_path / "call.wav"
    soundfile.write(call, np.stack([left, right], axis=1), 16_000, subtype="FLOAT")
    with fake_recognizer(readers=readers) as ours:
        alone = [ours.transcribe([call], channel=side)[0] for side in ("left", "right")]
        whole, mono = ours.transcribe([call, speech], channel="split")
        for side, one in zip(("left", "right"), alone, strict=True):
            assert [seg.text for seg in whole.segments if seg.channel == side] == [seg.text for seg in one.segments]
        assert whole.audio_s == pytest.approx(len(speech) / 16_000)
        assert {segment.channel for segment in mono.segments} == {"left"}
        assert "one channel" in mono.note
        with pytest.raises(AudioError, match="not there"):
            ours.transcribe([tmp_path / "absent.wav"], channel="split")
