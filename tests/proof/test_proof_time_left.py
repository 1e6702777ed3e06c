"""The time left: by what was measured alone, from the earliest end to the latest, and not before anything is known."""

from types import SimpleNamespace

import pytest

from autotune.deployment import Deployment
from autotune.proof.blocks import FinalistEvent
from autotune.proof.proof import ProofPlan, confirm
from autotune.proof.time_left import LEADERS_AGAIN, TimeLeft
from autotune.reporting import Remaining, Silent
from autotune.study.budget import EFFORTS, Budget
from autotune.study.candidates import StudyEvent
from tests.proof.machine import BASE, PLAN, A, B, C, Machine
from tests.study.synthetic_search import measured

QUICK, STANDARD = EFFORTS["quick"], EFFORTS["standard"]
CANDIDATE_S, BASELINE_S = 10.0, 60.0
QUICK_PROOF_S = 4 * (2 * CANDIDATE_S + BASELINE_S)


def after(done: int, *, candidates: int | None = None, without_progress: int = 0, spent_s: float = 0.0) -> StudyEvent:
    """``done`` deployments have been measured, two baselines among them unless ``candidates`` says otherwise."""
    return StudyEvent(
        "finished",
        done,
        "search",
        None,
        None,
        done,
        None,
        candidates_done=done - 2 if candidates is None else candidates,
        without_progress=without_progress,
        spent_s=spent_s,
    )


def measured_time_left(effort: str = "quick", *, timeout_s: float | None = None, space_size: int = 1000) -> TimeLeft:
    """Two baselines, one of them again, and three candidates have been measured."""
    budget = Budget(EFFORTS[effort].trials, timeout_s)
    time_left = TimeLeft(budget, EFFORTS[effort], space_size=space_size, baselines=2)
    for wall_s in (40.0, BASELINE_S, 80.0):
        time_left.measured(wall_s, None, baseline=True)
    for wall_s in (CANDIDATE_S, 9.0, 200.0):
        time_left.measured(wall_s, None, baseline=False)
    return time_left


def test_nothing_is_said_before_a_candidate_and_a_baseline_have_run() -> None:
    time_left = TimeLeft(Budget(12), QUICK, space_size=1000, baselines=2)
    assert time_left.of_search(after(0, candidates=0)) is None
    time_left.measured(CANDIDATE_S, None, baseline=False)
    assert time_left.of_search(after(1, candidates=1)) is None
    time_left.measured(BASELINE_S, None, baseline=True)
    assert time_left.of_search(after(2, candidates=1)) is not None


def test_a_search_counts_trials_repeats_anchors_selection_and_proof() -> None:
    # One outlier (200 s) changes nothing: the typical candidate takes 10 s, the typical baseline 60 s.
    left = measured_time_left().of_search(after(5))
    rest_s = 2 * 3 * CANDIDATE_S + QUICK_PROOF_S
    assert left is not None
    assert left.least_s == pytest.approx(7 * CANDIDATE_S * 1.1 + rest_s)
    assert left.most_s == pytest.approx(7 * CANDIDATE_S * 1.1 * (1 + LEADERS_AGAIN) + rest_s)


def test_a_baseline_that_is_missing_is_counted_as_one_and_not_as_a_candidate() -> None:
    both, one = measured_time_left().of_search(after(5)), measured_time_left().of_search(after(4, candidates=3))
    assert both is not None
    assert one is not None
    assert one.least_s == pytest.approx(both.least_s + BASELINE_S)


def test_recent_candidates_count_and_earlier_ones_do_not() -> None:
    time_left = measured_time_left()
    for _ in range(10):
        time_left.measured(2 * CANDIDATE_S, None, baseline=False)
    left = time_left.of_search(after(12))
    assert left == Remaining(*[2 * 3 * 20.0 + 4 * (2 * 20.0 + BASELINE_S)] * 2)


def test_the_earliest_end_is_that_of_a_search_without_progress_and_of_the_shortest_proof() -> None:
    time_left = measured_time_left("standard")
    far, near = time_left.of_search(after(10)), time_left.of_search(after(10, without_progress=18))
    assert far is not None
    assert near is not None
    assert far.most_s == near.most_s
    assert far.least_s - near.least_s == pytest.approx((20 - 2) * CANDIDATE_S * 1.1)
    assert near.most_s - near.least_s == pytest.approx(
        CANDIDATE_S * 1.1 * (20 * (1 + LEADERS_AGAIN) - 2) + (8 - 4) * (2 * CANDIDATE_S + BASELINE_S)
    )


def test_exports_and_repeats_are_in_the_latest_end_alone() -> None:
    time_left = TimeLeft(Budget(12), QUICK, space_size=1000, baselines=2)
    alone_s = 3.0  # what ``measured`` says of loading, warming up and measuring
    time_left.measured(50.0, measured(10.0), baseline=False)
    time_left.measured(100.0, measured(10.0), baseline=True)
    left = time_left.of_search(after(12))
    assert left is not None
    assert left == Remaining((6 + 8 + 4) * alone_s, (6 + 8) * 50.0 + 4 * 100.0)


def test_a_small_space_and_a_timeout_end_the_search() -> None:
    rest_s = 2 * 2 * CANDIDATE_S + QUICK_PROOF_S
    assert measured_time_left(space_size=2).of_search(after(4)) == Remaining(rest_s, rest_s)
    limited = measured_time_left(timeout_s=300).of_search(after(5, spent_s=280))
    rest_s = 2 * 3 * CANDIDATE_S + QUICK_PROOF_S
    assert limited == Remaining(20 + rest_s, 20 + rest_s)
    over = measured_time_left(timeout_s=300).of_search(after(5, spent_s=400))
    assert over == Remaining(rest_s, rest_s)


def finalist(block: int, blocks: int, to_come: tuple[Deployment, ...]) -> FinalistEvent:
    return FinalistEvent(block, blocks, A, None, "crashed", 1.0, to_come)


def test_a_selection_counts_what_is_left_of_its_blocks_and_the_proof() -> None:
    left = measured_time_left().of_selection(finalist(0, 2, (A, B)), 3)
    expected_s = (2 + 3) * CANDIDATE_S + QUICK_PROOF_S
    assert left == Remaining(expected_s, expected_s)


def test_a_proof_counts_what_is_left_of_its_blocks() -> None:
    time_left, plan = measured_time_left("standard"), ProofPlan.of(STANDARD, 0)
    block_s = 2 * CANDIDATE_S + BASELINE_S
    left = time_left.of_proof(finalist(1, 4, (BASE, A)), 2, plan)
    assert left == Remaining(70 + 2 * block_s, 70 + 6 * block_s)
    assert time_left.of_proof(finalist(7, 8, ()), 2, plan) == Remaining(0, 0)
    stopped = time_left.of_proof(finalist(0, 2, ()), 1, plan.stopped)
    assert stopped == Remaining(CANDIDATE_S + BASELINE_S, CANDIDATE_S + BASELINE_S)


class Steps(Silent):
    """Keeps the time left of every step."""

    def __init__(self) -> None:
        self.left = list[tuple[str, Remaining | None]]()

    def step(self, phase: str, done: int, total: int | None, text: str, left: Remaining | None = None) -> None:
        self.left.append((phase, left))


def test_selection_and_proof_report_less_and_less_and_end_at_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("autotune.proof.blocks.time", SimpleNamespace(monotonic=lambda: 0.0))
    machine, reporter, time_left = Machine({A: 60.0, B: 50.0, C: 40.0}), Steps(), measured_time_left()
    confirm(machine.study(), machine, reporter, PLAN, time_left)
    assert [phase for phase, _ in reporter.left] == ["selection, block"] * 6 + ["proof, block"] * 12
    selection = [left.most_s for phase, left in reporter.left if left and phase.startswith("selection")]
    assert len(selection) == 6
    assert selection == sorted(selection, reverse=True)
    assert reporter.left[-1][1] == Remaining(0, 0)


def test_what_blocks_take_is_learnt_while_they_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("autotune.proof.blocks.time", SimpleNamespace(monotonic=lambda: 0.0))
    machine, time_left = Machine({A: 60.0, B: 50.0, C: 40.0}), measured_time_left()
    confirm(machine.study(), machine, Silent(), PLAN, time_left)
    left = time_left.of_search(after(12))
    # On this machine a measurement takes no time.
    assert left == Remaining(0, 0)


@pytest.mark.parametrize(
    ("least_s", "most_s", "text"),
    [
        (0, 3, "less than 10 s left"),
        (0, 41, "up to 40 s left"),
        (38, 41, "about 40 s left"),
        (20, 80, "20–80 s left"),
        (100, 110, "about 2 min left"),
        (230, 420, "4–7 min left"),
        (20, 420, "up to 7 min left"),
        (3600, 5390, "60–90 min left"),
        (5000, 7300, "1.4–2 h left"),
    ],
)
def test_it_is_said_no_more_exactly_than_it_is_known(least_s: float, most_s: float, text: str) -> None:
    assert Remaining(least_s, most_s).describe() == text
