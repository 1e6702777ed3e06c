"""Fixed windows cover every sample exactly once."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from autotune.deployment import Chunking
from autotune.recognizer.chunking import cut


@given(st.integers(1, 10_000_000), st.floats(0.5, 3600))
def test_fixed_windows_cover_every_sample_once(samples: int, window_s: float) -> None:
    spans = cut(samples, 16000, Chunking(method="fixed", window_s=window_s))
    assert spans[0].start == 0
    assert spans[-1].stop == samples
    assert all(left.stop == right.start for left, right in itertools.pairwise(spans))
    lengths = [span.stop - span.start for span in spans]
    assert min(lengths) >= 1
    assert max(lengths) <= round(window_s * 16000)
    assert max(lengths) - min(lengths) <= 1


def test_no_chunking_is_one_span_and_no_audio_none() -> None:
    assert [(span.start, span.stop) for span in cut(5, 16000, Chunking(method="none", window_s=None))] == [(0, 5)]
    assert cut(0, 16000, Chunking(method="fixed", window_s=10)) == []
