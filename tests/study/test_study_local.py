"""Local search and its surrogate."""

import math
import random
from pathlib import Path

import numpy as np
import pytest

from autotune.deployment import Deployment
from autotune.study.candidates import Candidate
from autotune.study.chooser import LocalSearch
from autotune.study.goal import Goal
from autotune.study.records import TrialRecord
from autotune.study.surrogate import Surrogate
from tests.study.synthetic_search import measured, shipped_space, tiny_space, true_rtfx

SPACE = shipped_space()


def candidates(deployments: list[Deployment]) -> list[Candidate]:
    found = [
        Candidate(
            one,
            (TrialRecord(number, "search", one, measured(true_rtfx(one)), "complete", "", 1.0, anchor=20.0),),
            Goal(),
            expected=math.log(true_rtfx(one) / 20),
        )
        for number, one in enumerate(deployments)
    ]
    return sorted(found, key=lambda one: -one.relative)


def drawn(count: int, seed: int = 0) -> list[Deployment]:
    generator = random.Random(seed)
    found: dict[str, Deployment] = {}
    while len(found) < count:
        one = SPACE.sample(generator)
        found[one.key] = one
    return list(found.values())


def test_the_surrogate_ranks_what_it_has_not_seen() -> None:
    known, unseen = drawn(60), drawn(80, seed=1)
    surrogate = Surrogate(known, [float(np.log(true_rtfx(one))) for one in known])
    expected, spread = surrogate.predict(unseen)
    truth = np.array([np.log(true_rtfx(one)) for one in unseen])
    assert np.corrcoef(expected, truth)[0, 1] > 0.6
    assert (spread > 0).all()


def test_the_surrogate_is_surer_of_what_it_knows() -> None:
    known = drawn(20)
    surrogate = Surrogate(known, [float(np.log(true_rtfx(one))) for one in known])
    _, sure = surrogate.predict(known)
    _, unsure = surrogate.predict(drawn(20, seed=7))
    assert sure.mean() < unsure.mean()


def test_equal_values_are_no_problem() -> None:
    known = drawn(5)
    expected, _ = Surrogate(known, [1.0] * 5).predict(drawn(3, seed=2))
    assert expected == pytest.approx([1.0] * 3)


def never(_: Candidate) -> bool:
    return False


def always(_: Candidate) -> bool:
    return True


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_moves_lead_uphill(seed: int) -> None:
    signed = [one for one in drawn(200, seed) if one.weights == "s8"]
    known = {one.key: one for one in sorted(signed, key=true_rtfx)[:4]}
    first = max(true_rtfx(one) for one in known.values())
    for _ in range(20):
        search = LocalSearch(SPACE, candidates(list(known.values())), [])
        near = search.most_promising(lambda one: one.key not in known, never, random.Random(f"{seed}/{len(known)}"))
        assert near is not None
        assert near.key not in known
        known[near.key] = near
    assert max(true_rtfx(one) for one in known.values()) > 1.3 * first


def test_it_keeps_away_from_what_is_not_allowed() -> None:
    """Batches of four and more are fast and take too much memory."""
    goal = Goal(max_memory_bytes=10**9)

    def told(one: Deployment) -> Candidate:
        measurement = measured(true_rtfx(one), memory=2 * 10**9 if one.batch.max_size >= 4 else 10**9)
        trial = TrialRecord(0, "search", one, measurement, "complete", "", 1.0, anchor=20.0)
        return Candidate(one, (trial,), goal, expected=math.log(true_rtfx(one) / 20))

    search = LocalSearch(SPACE, sorted(map(told, drawn(40)), key=lambda one: -one.expected), [])
    found = [search.most_promising(lambda _: True, never, random.Random(seed)) for seed in range(10)]
    sizes = [one.batch.max_size for one in found if one is not None]
    assert sum(size < 4 for size in sizes) >= 8


def test_a_leader_that_may_be_as_good_is_measured_again() -> None:
    """Every neighbour is known: what is left to learn is which of the leaders is the best."""
    known = candidates(drawn(12))
    leader = LocalSearch(SPACE, known, []).most_promising(lambda _: False, always, random.Random(0))
    assert leader in [one.deployment for one in known[:3]]
    assert LocalSearch(SPACE, known, []).most_promising(lambda _: False, never, random.Random(0)) is None


def test_two_settings_may_move_at_once() -> None:
    leader = SPACE.experts()[0]
    moves = SPACE.two_steps(leader, 50, random.Random(0))
    assert leader not in moves
    assert len(moves) == len({one.key for one in moves})
    one_step = {one.key for one in SPACE.neighbours(leader)}
    assert any(one.key not in one_step for one in moves)
    assert all(SPACE.encode(one) for one in moves)


def test_without_anything_allowed_there_is_no_move(tmp_path: Path) -> None:
    tiny = tiny_space(tmp_path)
    everything = list({one.key: one for one in tiny.everything()}.values())
    assert LocalSearch(tiny, [], everything[:3]).most_promising(lambda _: True, always, random.Random(0)) is None
    slow = Goal(max_memory_bytes=1)
    told = [
        Candidate(one, (TrialRecord(0, "search", one, measured(5.0), "complete", "", 1.0),), slow) for one in everything
    ]
    assert LocalSearch(tiny, told, []).most_promising(lambda _: True, always, random.Random(0)) is None
