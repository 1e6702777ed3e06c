"""Which chunking is one."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from autotune.deployment import CHUNKING_FIELDS, Chunking, baseline_deployment
from tests.deployment_example import example_deployment

VAD: dict[str, Any] = {
    "method": "vad",
    "vad_model": "silero",
    "max_segment_s": 30,
    "merge_s": 15,
    "min_silence_s": 0.4,
    "pad_s": 0.2,
}


def test_each_method_has_its_fields() -> None:
    assert Chunking(method="none").model_dump(exclude_none=True) == {"method": "none"}
    assert Chunking(method="fixed", window_s=15).overlap_s == 0.0
    assert Chunking(method="fixed", window_s=15) == Chunking(method="fixed", window_s=15, overlap_s=0)
    assert Chunking(**VAD).window_s is None
    assert set(Chunking.model_fields) == {"method", *(name for names in CHUNKING_FIELDS.values() for name in names)}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"method": "fixed"}, r"window_s must be in 0\.5\.\.3600 seconds for method 'fixed', but got None"),
        ({"method": "fixed", "window_s": 0.4}, "window_s must be in"),
        ({"method": "none", "window_s": 5}, "window_s must be null for method 'none', but got 5"),
        ({"method": "none", "overlap_s": 1}, "overlap_s must be null"),
        ({"method": "fixed", "window_s": 4, "overlap_s": 2}, "overlap_s must be less than half of window_s.*2 of 4"),
        ({"method": "fixed", "window_s": 4, "overlap_s": -1}, "overlap_s must be in 0"),
        ({"method": "fixed", "window_s": 4, "pad_s": 0.1}, "pad_s must be null for method 'fixed'"),
        (VAD | {"merge_s": None}, "merge_s must be in .* but got None"),
        (VAD | {"merge_s": 31}, "merge_s must be at most max_segment_s, but got 31 and 30"),
        (VAD | {"max_segment_s": 1, "merge_s": 0, "pad_s": 0.3}, "pad_s must be at most a quarter"),
        (VAD | {"vad_model": None}, 'vad_model must be "silero" or a model directory, but got None'),
        (VAD | {"vad_model": ""}, "vad_model must be"),
        (VAD | {"window_s": 5}, "window_s must be null for method 'vad'"),
        ({"method": "funasr", "pad_s": 0.1}, "pad_s must be null for method 'funasr'"),
        ({"method": "energy"}, "Input should be"),
    ],
)
def test_what_does_not_go_together_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Chunking(**changes)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"method": "none"}, "none"),
        ({"method": "fixed", "window_s": 15}, "15 s"),
        ({"method": "fixed", "window_s": 15, "overlap_s": 1}, "15 s −1 s overlap"),
        (VAD, "vad ≤30 s +15 s"),
        (VAD | {"vad_model": "/models/fsmn", "merge_s": 0}, "fsmn-vad ≤30 s"),
    ],
)
def test_a_deployment_says_its_chunking_in_a_few_words(changes: dict[str, Any], words: str) -> None:
    assert example_deployment(chunking=Chunking(**changes)).describe().endswith(f"chunk {words}")


def test_funasrs_own_path_has_its_own_method() -> None:
    baseline = baseline_deployment(ncpu=4)
    assert baseline.chunking.method == "funasr"
    with pytest.raises(ValidationError, match="must come together"):
        example_deployment(chunking=Chunking(method="funasr"))
    with pytest.raises(ValidationError, match="must come together"):
        type(baseline).model_validate(baseline.model_dump() | {"chunking": {"method": "none"}})


def test_an_overlap_that_is_not_given_is_the_same_deployment() -> None:
    left = example_deployment(chunking=Chunking(method="fixed", window_s=15))
    right = example_deployment(chunking=Chunking(method="fixed", window_s=15.0, overlap_s=0.0))
    assert left.key == right.key


def test_a_copy_has_a_key_of_its_own() -> None:
    plain = example_deployment()
    before = plain.key
    changed = plain.model_copy(update={"instances": plain.instances + 1})
    assert changed.key != before
    assert changed != plain
    assert plain.model_copy() == plain
