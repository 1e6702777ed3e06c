"""The reference with real processes and a tiny model; its text is not meaningful, but it is always the same."""

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from autotune.audio import Recording, Turn
from autotune.audio.embedded import embedded_clips
from autotune.audio.reading import SAMPLE_RATE_HZ
from autotune.errors import ModelError
from autotune.files import cache_dir
from autotune.hardware import probe_hardware
from autotune.measure import ReferenceRequest, baseline_texts, reference_texts
from autotune.measure.hearing import CONTEXT_S, turn_spans
from autotune.models import ModelInfo, resolve_model
from tests.accuracy.workloads import workload


@pytest.fixture(scope="module")
def model() -> ModelInfo:
    return resolve_model("random:sensevoice-tiny")


@pytest.fixture(scope="module")
def spoken(tmp_path_factory: pytest.TempPathFactory) -> Recording:
    """Two clips with a second of silence before, between and after them."""
    silence = np.zeros(SAMPLE_RATE_HZ, np.float32)
    first, second = embedded_clips()[:2]
    path = tmp_path_factory.mktemp("reference") / "spoken.wav"
    samples = np.concatenate([silence, first.waveform, silence, second.waveform, silence])
    soundfile.write(path, samples, SAMPLE_RATE_HZ)
    first_s, second_s = len(first.waveform) / SAMPLE_RATE_HZ, len(second.waveform) / SAMPLE_RATE_HZ
    turns = (
        Turn(clip="a", start_s=1.0, end_s=1.0 + first_s, text=first.text),
        Turn(clip="b", start_s=2.0 + first_s, end_s=2.0 + first_s + second_s, text=second.text),
    )
    return Recording(id="spoken", path=str(path), audio_s=3 + first_s + second_s, arrival_s=0.0, text=None, turns=turns)


def request(model: ModelInfo, recording: Recording, *, sha256: str, language: str = "auto") -> ReferenceRequest:
    return ReferenceRequest(
        model=model,
        workload=workload(recording, sha256=sha256),
        hardware=probe_hardware(),
        device="cpu",
        language=language,
        text_norm="woitn",
    )


@pytest.mark.slow
def test_turns_are_transcribed_one_by_one_and_once(model: ModelInfo, spoken: Recording) -> None:
    heard: list[str] = []
    asked = request(model, spoken, sha256="1" * 64)
    assert asked.recipe == "turns"
    texts, known = reference_texts(asked, on_event=lambda _, data: heard.append(str(data.get("text"))))
    assert not known
    assert list(texts) == ["spoken"]
    assert len(texts["spoken"]) == 2
    assert "1 of 1 recordings" in heard
    gone = request(model.model_copy(update={"path": "/nowhere"}), spoken, sha256="1" * 64)
    again, known = reference_texts(gone)
    assert known
    assert again == texts
    kept = max((cache_dir() / "references").glob("*.json"), key=lambda path: path.stat().st_mtime_ns)
    kept.write_text('{"texts": {"spoken": ["one too few"]}}', encoding="utf-8")
    with pytest.raises(ModelError, match="/nowhere"):
        reference_texts(gone)


@pytest.mark.slow
def test_files_of_the_user_are_cut_as_the_baseline_does(model: ModelInfo, spoken: Recording) -> None:
    own = request(model, spoken.model_copy(update={"turns": ()}), sha256="2" * 64)
    assert own.recipe == "baseline"
    texts, known = reference_texts(own)
    assert not known
    assert len(texts["spoken"]) == 1
    assert texts["spoken"][0].strip()
    assert baseline_texts(own) == ({"spoken": texts["spoken"][0]}, True)


@given(st.lists(st.tuples(st.integers(0, 3000), st.integers(500, 9000)), max_size=8), st.integers(0, 3000))
def test_spans_hold_their_turn_and_no_part_of_another(steps: list[tuple[int, int]], tail_ms: int) -> None:
    """Turns with pauses in milliseconds before them, and one after the last."""
    turns, at_ms = [], 0
    for number, (pause_ms, length_ms) in enumerate(steps):
        start_ms, at_ms = at_ms + pause_ms, at_ms + pause_ms + length_ms
        turns.append(Turn(clip=str(number), start_s=start_ms / 1000, end_s=at_ms / 1000, text="x"))
    samples = (at_ms + tail_ms) * SAMPLE_RATE_HZ // 1000
    spans = turn_spans(turns, samples)
    if not turns:
        assert spans == [(0, samples)]
        return
    most = round(CONTEXT_S * SAMPLE_RATE_HZ)
    for number, (turn, (start, stop)) in enumerate(zip(turns, spans, strict=True)):
        first, last = round(turn.start_s * SAMPLE_RATE_HZ), round(turn.end_s * SAMPLE_RATE_HZ)
        assert max(0, first - most - 1) <= start <= first
        assert last <= stop <= min(samples, last + most + 1)
        for other in turns[:number]:
            assert start >= round(other.end_s * SAMPLE_RATE_HZ)
        for other in turns[number + 1 :]:
            assert stop <= round(other.start_s * SAMPLE_RATE_HZ)
