"""Parity: what passes, what doesn't, and that the gate looks at the right figure."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autotune.arrays import Float32, Int32
from autotune.models import Parity
from autotune.models.parity import ParityBatch, compare, load_batches, save_batches

VOCABULARY = 11


def batch(*lengths: int) -> ParityBatch:
    return ParityBatch(np.zeros((len(lengths), max(lengths), 4), np.float32), np.array(lengths, np.int32))


def reference(given_batch: ParityBatch, seed: int = 0) -> list[Float32]:
    generator = np.random.default_rng(seed)
    return [generator.standard_normal((int(n), VOCABULARY)).astype(np.float32) for n in given_batch.lengths]


def padded(rows: list[Float32], fill: float = 99.0) -> tuple[Float32, Int32]:
    lengths = np.array([len(row) for row in rows], np.int32)
    scores = np.full((len(rows), int(lengths.max()), VOCABULARY), fill, np.float32)
    for index, row in enumerate(rows):
        scores[index, : len(row)] = row
    return scores, lengths


def check(rows: list[Float32], want: list[Float32], given_batch: ParityBatch, *, gated: bool = True) -> Parity:
    return compare(lambda _: padded(rows), [given_batch], [want], reference="pytorch", gated=gated)


def test_equal_scores_pass_and_padding_does_not_count() -> None:
    given_batch = batch(3, 8)
    want = reference(given_batch)
    result = check(want, want, given_batch)
    assert result.passed
    assert (result.max_relative_error, result.argmax_agreement, result.frames) == (0.0, 1.0, 11)


@settings(deadline=None)
@given(st.floats(1e-5, 1e-2), st.integers(0, 1000), st.sampled_from([0.01, 1.0, 1000.0]))
def test_the_figure_is_relative_to_the_largest_score(share: float, seed: int, scale: float) -> None:
    given_batch = batch(5)
    want = [row * np.float32(scale) for row in reference(given_batch, seed)]
    got = [row.copy() for row in want]
    # A value near zero is moved by a share of the largest: elementwise this is a huge error.
    place = np.unravel_index(np.abs(got[0]).argmin(), got[0].shape)
    got[0][place] += share * np.abs(want[0]).max()
    result = check(got, want, given_batch)
    assert result.max_relative_error == pytest.approx(share, rel=0.05)
    assert result.passed == (result.max_relative_error <= 1e-4 and result.argmax_agreement >= 0.999)


def test_one_flipped_frame_of_many_is_noticed() -> None:
    given_batch = batch(400)
    want = reference(given_batch)
    got = [row.copy() for row in want]
    got[0][7, want[0][7].argmin()] = want[0][7].max() + 1e-3
    result = check(got, want, given_batch)
    assert result.argmax_agreement == pytest.approx(399 / 400)
    assert not result.passed


def test_another_number_of_tokens_fails_and_the_rest_is_still_compared() -> None:
    given_batch = batch(4, 6)
    want = reference(given_batch)
    result = check([want[0], want[1][:5]], want, given_batch)
    assert not result.lengths_agree
    assert not result.passed
    assert (result.frames, result.max_relative_error) == (9, 0.0)
    assert "numbers of tokens differ" in result.describe()


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_a_number_fails(value: float) -> None:
    given_batch = batch(4)
    want = reference(given_batch)
    got = [row.copy() for row in want]
    got[0][2, 3] = value
    result = check(got, want, given_batch)
    assert not result.passed
    assert result.max_relative_error == 1e9
    assert not check(got, got, given_batch).passed, "a reference that is not finite proves nothing"


def test_nothing_to_compare_is_no_pass() -> None:
    given_batch = batch(4)
    nothing = [np.zeros((0, VOCABULARY), np.float32)]
    assert not check(nothing, nothing, given_batch).passed


def test_batches_survive_a_file(tmp_path: Path) -> None:
    kept = [batch(3, 8), batch(20)]
    save_batches(tmp_path / "inputs.npz", kept)
    read = load_batches(tmp_path / "inputs.npz")
    assert [one.lengths.tolist() for one in read] == [[3, 8], [20]]
    assert read[0].speech.dtype == np.float32
