"""Rows that were run in groups come back in their places."""

import numpy as np

from autotune.engines import EngineInput, EngineOutput
from autotune.engines.tensors import equal_groups, joined_rows


def test_groups_hold_rows_of_one_length_without_padding() -> None:
    features = np.arange(4 * 5 * 2, dtype=np.float32).reshape(4, 5, 2)
    batch = EngineInput(features=features, lengths=np.array([5, 2, 5, 3], np.int32))
    found = [(rows.tolist(), part.features, part.lengths) for rows, part in equal_groups(batch)]
    assert [rows for rows, _, _ in found] == [[1], [3], [0, 2]]
    for rows, part, lengths in found:
        assert part is not None
        assert lengths is not None
        assert set(lengths.tolist()) == {part.shape[1]}
        assert np.array_equal(part, features[rows, : part.shape[1]])


def test_joined_rows_are_padded_to_the_longest() -> None:
    def output(value: int, rows: int, width: int) -> EngineOutput:
        ids = np.full((rows, width), value, np.int32)
        lengths = np.full(rows, width, np.int32)
        return EngineOutput(ids=ids, lengths=lengths, scores=np.full((rows, width, 2), value, np.float32))

    whole = joined_rows([(np.array([1]), output(7, 1, 2)), (np.array([0, 2]), output(9, 2, 3))])
    assert whole.ids is not None
    assert whole.lengths is not None
    assert whole.scores is not None
    assert whole.ids.tolist() == [[9, 9, 9], [7, 7, 0], [9, 9, 9]]
    assert whole.lengths.tolist() == [3, 2, 3]
    assert whole.scores[:, :, 0].tolist() == whole.ids.tolist()
