"""The guard's statistics: intervals that hold, clips that count once, verdicts and the power behind them."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autotune.accuracy import Accuracy, Guard
from autotune.accuracy.record import ClipCount, pooled
from autotune.intervals import ratio_interval

counts = st.tuples(st.integers(0, 20), st.integers(0, 20), st.integers(1, 40))


def accuracy(rows: list[tuple[int, int, int]], *, unit: str = "cer", times: int = 1) -> Accuracy:
    """One clip a row: errors, reference's errors, length; ``times``: how often each clip occurs."""
    clips = [ClipCount(f"c{index:03d}", *(times * value for value in row)) for index, row in enumerate(rows)]
    return Accuracy.model_validate(
        {"unit": unit, "tokens": "characters", "utterances": times * len(rows), "clips": clips, "worst": ()}
    )


def compared(rows: list[tuple[int, int, int, int]], **changes: object) -> Accuracy:
    """One clip a row: errors, the baseline's, fp32's, length."""
    clips = [
        ClipCount(f"c{index:03d}", errors, reference, length, baseline)
        for index, (errors, baseline, reference, length) in enumerate(rows)
    ]
    plain = {"unit": "cer", "tokens": "characters", "utterances": len(rows), "clips": clips, "worst": ()}
    return Accuracy.model_validate(plain | changes)


def test_rates() -> None:
    one = accuracy([(2, 1, 10), (0, 1, 30)])
    assert one.rate == 2 / 40
    assert one.reference_rate == 2 / 40
    assert one.increase == 0
    assert Accuracy.model_validate_json(one.model_dump_json()) == one
    assert one.model_dump(mode="json")["clips"][0] == ["c000", 2, 1, 10]


def test_the_interval_covers_the_truth() -> None:
    """95 % intervals of 25 clips with errors in lumps: between 90 and 99 % of 150 hold the true rate."""
    generator = np.random.default_rng(3)
    held = 0
    for round_ in range(150):
        lengths = generator.integers(5, 30, 25)
        # A clip is hit with probability 0.3, and then a third of it is wrong.
        errors = np.where(generator.random(25) < 0.3, lengths / 3, 0.0)
        found = ratio_interval(errors.tolist(), lengths.tolist(), resamples=2000, seed=round_)
        held += found.low <= 0.1 <= found.high
    assert 135 <= held <= 149


@given(st.lists(counts, min_size=2, max_size=12))
@settings(max_examples=40)
def test_the_interval_is_ordered_and_no_order_matters(rows: list[tuple[int, int, int]]) -> None:
    first, again = Guard().verdict(accuracy(rows)), Guard().verdict(accuracy(rows[::-1]))
    assert first is not None
    assert again is not None
    assert first.increase == again.increase
    assert first.increase.low <= first.increase.value <= first.increase.high
    assert first.increase.value == pytest.approx(first.accuracy.increase)


@given(st.lists(counts, min_size=2, max_size=12), st.integers(2, 5))
@settings(max_examples=30)
def test_a_clip_that_recurs_is_no_new_evidence(rows: list[tuple[int, int, int]], times: int) -> None:
    once, often = Guard().verdict(accuracy(rows)), Guard().verdict(accuracy(rows, times=times))
    blocks = Guard().verdict(pooled([accuracy(rows)] * times))
    assert once is not None
    assert often is not None
    assert blocks is not None
    for more in (often, blocks):
        assert more.increase.low == pytest.approx(once.increase.low)
        assert more.increase.high == pytest.approx(once.increase.high)
        assert more.visible == pytest.approx(once.visible)


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(1, 40)), min_size=1, max_size=12))
def test_no_difference_passes(rows: list[tuple[int, int]]) -> None:
    verdict = Guard(0.0).verdict(accuracy([(errors, errors, length) for errors, length in rows]))
    assert verdict is not None
    assert (verdict.increase.low, verdict.increase.value, verdict.increase.high) == (0, 0, 0)
    assert verdict.outcome == "passed"
    assert verdict.visible > 0


def test_more_clips_see_more() -> None:
    rows = [(2, 1, 20), (1, 1, 20), (0, 0, 20), (1, 2, 20)]
    few, many = Guard().verdict(accuracy(rows * 5)), Guard().verdict(accuracy(rows * 80))
    assert few is not None
    assert many is not None
    assert many.visible == pytest.approx(few.visible / 4, rel=0.15)
    assert few.more_audio == pytest.approx((few.visible / 0.005) ** 2)
    assert few.more_audio is not None
    assert many.more_audio is not None
    assert many.more_audio == pytest.approx(few.more_audio / 16, rel=0.3)


def test_without_any_difference_power_still_depends_on_the_clips() -> None:
    """Ten clips of twenty characters without a difference: one wrong character in 16 % of clips may go unseen."""
    verdict = Guard().verdict(accuracy([(1, 1, 20)] * 10))
    assert verdict is not None
    assert verdict.outcome == "passed"
    assert verdict.visible == pytest.approx(-math.log(0.2) / 10 / 20)
    assert verdict.more_audio == pytest.approx(verdict.visible / 0.005)


@pytest.mark.parametrize(
    ("rows", "outcome"),
    [
        ([(1, 1, 20)] * 50, "passed"),
        ([(4, 1, 20)] * 50, "rejected"),
        ([(0, 1, 20)] * 50, "passed"),
        ([(1, 1, 20)] * 9 + [(2, 1, 30)], "unclear"),
        ([(2, 1, 20)], "rejected"),
        ([(1, 0, 400)], "unclear"),
        ([(2, 2, 20)], "passed"),
    ],
)
def test_verdicts(rows: list[tuple[int, int, int]], outcome: str) -> None:
    guard = Guard(0.005)
    verdict = guard.verdict(accuracy(rows))
    assert verdict is not None
    assert verdict.outcome == outcome
    assert guard.passes(accuracy(rows)) == (outcome == "passed")
    assert (guard.constraint(accuracy(rows)) <= 0) == (outcome != "rejected")
    assert {"passed": "passed", "rejected": "rejected", "unclear": "decide"}[outcome] in verdict.describe()


def test_an_unclear_verdict_says_how_much_audio_would_settle_it() -> None:
    rows = [(1, 1, 20)] * 19 + [(2, 1, 20)]
    few = Guard().verdict(accuracy(rows))
    assert few is not None
    assert few.outcome == "unclear"
    assert few.more_audio is not None
    enough = Guard().verdict(accuracy(rows * (2 * math.ceil(few.more_audio))))
    assert enough is not None
    assert enough.outcome == "passed"
    assert f"needs {few.more_audio:.1f} ×" in few.describe()


def test_constraints() -> None:
    half = accuracy([(2, 1, 200)])
    assert Guard(0.005).constraint(half) == pytest.approx(0)
    assert Guard(0.01).constraint(half) == pytest.approx(-0.5)
    assert Guard(0.0025).constraint(half) == pytest.approx(1)
    assert Guard(0.0).constraint(half) == pytest.approx(0.005)
    assert Guard(math.inf).constraint(half) == -1
    assert Guard(0.0).constraint(accuracy([(1, 1, 20)])) == 0
    assert Guard(math.inf).passes(accuracy([(20, 0, 20)]))
    with pytest.raises(ValueError, match="at least 0"):
        Guard(-0.1)
    with pytest.raises(ValueError, match="at least 0"):
        Guard(math.nan)


def test_what_was_not_checked_is_not_judged() -> None:
    assert Guard().verdict(None) is None
    assert Guard().passes(None)


def test_only_what_was_counted_alike_is_pooled() -> None:
    with pytest.raises(ValueError, match="counted alike"):
        pooled([accuracy([(1, 1, 20)]), accuracy([(1, 1, 20)], unit="wer")])
    with pytest.raises(ValueError, match="at least one"):
        pooled([])


@pytest.mark.parametrize(("above", "below"), [([1.0], [1.0, 2.0]), ([1.0], [0.0]), ([], [])])
def test_ratios_of_nothing_are_refused(above: list[float], below: list[float]) -> None:
    with pytest.raises(ValueError, match="positive sum"):
        ratio_interval(above, below)


def test_one_clip_alone_tells_nothing() -> None:
    verdict = Guard().verdict(accuracy([(1, 0, 400)]))
    assert verdict is not None
    assert (verdict.increase.low, verdict.increase.high) == (-1, 1)
    assert verdict.more_audio is None
    assert "one clip alone decides nothing" in verdict.describe()


WORSE_BASELINE = compared([(2, 2 + index % 2, 1, 20) for index in range(100)])
"""Half a character in twenty better than FunASR's default, a whole one worse than fp32 PyTorch."""
BETTER_BASELINE = compared([(2, 1, 2 + index % 2, 20) for index in range(100)])


def test_what_is_no_worse_than_funasrs_default_passes_unless_fp32_is_demanded() -> None:
    verdict = Guard().verdict(WORSE_BASELINE)
    assert verdict is not None
    assert verdict.outcome == "passed"
    assert verdict.nearest is verdict.baseline_increase
    assert Guard().passes(WORSE_BASELINE)
    assert Guard().constraint(WORSE_BASELINE) == pytest.approx(-0.025 / 0.005 - 1)
    strict = Guard(reference="fp32").verdict(WORSE_BASELINE)
    assert strict is not None
    assert strict.outcome == "rejected"
    assert not Guard(reference="fp32").passes(WORSE_BASELINE)
    assert Guard(reference="fp32").constraint(WORSE_BASELINE) == pytest.approx(0.05 / 0.005 - 1)
    for one in (verdict, strict):
        assert "-2.50 points from FunASR's default" in one.describe()
        assert "+5.00 points from fp32 PyTorch" in one.describe()
    assert "0.50 allowed over fp32 PyTorch: rejected" in strict.describe()


def test_fp32_suffices_where_funasrs_default_is_more_accurate() -> None:
    assert Guard().passes(BETTER_BASELINE)
    assert Guard().constraint(BETTER_BASELINE) == pytest.approx(-0.025 / 0.005 - 1)


def test_what_loses_against_both_is_rejected() -> None:
    verdict = Guard().verdict(compared([(2, 1, 1, 20)] * 100))
    assert verdict is not None
    assert verdict.outcome == "rejected"


def test_records_of_older_versions_are_judged_by_fp32_alone() -> None:
    stored = '{"unit":"cer","tokens":"characters","utterances":50,"clips":[%s],"worst":[]}'
    old = Accuracy.model_validate_json(stored % ",".join(f'["c{index:03d}",2,1,20]' for index in range(50)))
    assert old.baseline_errors is None
    assert old.baseline_increase is None
    verdict = Guard().verdict(old)
    assert verdict is not None
    assert (verdict.outcome, verdict.baseline_increase) == ("rejected", None)
    assert Guard().constraint(old) == Guard(reference="fp32").constraint(old) == pytest.approx(9)
    assert "FunASR" not in verdict.describe()
    assert verdict.complete


def test_pooled_counts_of_the_baseline_add_up_or_stay_unknown() -> None:
    one = compared([(1, 2, 1, 20), (0, 1, 0, 10)], available=2, extendable=False)
    twice = pooled([one, one])
    assert twice.baseline_errors == [4, 2]
    assert (twice.available, twice.extendable) == (2, False)
    assert pooled([one, accuracy([(1, 1, 20)])]).baseline_errors is None
    assert Accuracy.model_validate_json(one.model_dump_json()) == one
    assert one.model_dump(mode="json")["clips"][0] == ["c000", 1, 1, 20, 2]


def test_audio_that_nobody_has_is_not_asked_for() -> None:
    rows = [(1, 1, 1, 20)] * 9 + [(2, 1, 1, 30)]
    embedded = Guard().verdict(compared(rows, available=10, extendable=False))
    share = Guard().verdict(compared(rows, available=40, extendable=False))
    users = Guard().verdict(compared(rows, available=10))
    assert embedded is not None
    assert share is not None
    assert users is not None
    assert embedded.outcome == share.outcome == users.outcome == "unclear"
    assert embedded.describe().endswith("all 10 clips were heard, too few to decide")
    assert share.describe().endswith("10 of 40 clips were heard, too few to decide")
    assert "× as much" in users.describe()


def test_more_audio_is_for_the_comparison_that_may_pass() -> None:
    """0.4 points above the default, 2.5 above fp32 PyTorch: more audio can only show the former."""
    rows = [(2, 2, 1, 20)] * 8 + [(3, 2, 3, 21)] + [(1, 2, 1, 20)] + [(4, 2, 3, 20)]
    verdict = Guard(0.02).verdict(compared(rows))
    assert verdict is not None
    assert verdict.outcome == "unclear"
    assert verdict.baseline_increase is not None
    room = 0.02 - verdict.baseline_increase.value
    assert verdict.more_audio is not None
    assert verdict.more_audio >= (1.96 * verdict.baseline_increase.standard_error / room) ** 2 * 0.999


def test_the_two_chances_together_are_no_more_than_one() -> None:
    """Deployments that lose exactly what is allowed against both, by independent draws of clips: 2.5 % may pass."""
    generator = np.random.default_rng(5)
    rounds, passed, either = 150, 0, 0
    for _ in range(rounds):
        # The default's errors and fp32's fall on different clips, so that the two increases go apart.
        errors, baseline, reference = (generator.poisson(mean, 160) for mean in (0.7, 0.6, 0.6))
        judged = compared([(int(a), int(b), int(c), 20) for a, b, c in zip(errors, baseline, reference, strict=True)])
        passed += Guard(0.005).passes(judged)
        strict = Guard(0.005, reference="fp32")
        over_baseline = accuracy([(int(a), int(b), 20) for a, b in zip(errors, baseline, strict=True)])
        either += strict.passes(judged) or strict.passes(over_baseline)
    # 2.5 % and two standard errors of 150 rounds.
    assert passed <= 7
    assert either > passed
