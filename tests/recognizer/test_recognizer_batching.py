"""The batching policy as a pure function."""

import math
import random
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autotune.deployment import Batch
from autotune.recognizer import batching
from autotune.recognizer.batching import OFFLINE, Queue, Queued, Take, Wait

queues = st.lists(st.tuples(st.floats(0, 100), st.floats(0.1, 60)).map(lambda pair: pair), min_size=1, max_size=40).map(
    lambda pairs: [Queued(index, arrival, audio) for index, (arrival, audio) in enumerate(pairs)]
)
policies = st.builds(
    Batch,
    max_size=st.integers(1, 16),
    max_audio_s=st.floats(1, 300),
    max_wait_s=st.floats(0, 2),
    pad_to_s=st.sampled_from([0.0, 0.5, 2.0]),
)


def decide(queue: Sequence[Queued], now_s: float, policy: Batch, *, idle: int = 1) -> Take | Wait:
    return batching.decide(Queue(queue), now_s, policy, idle=idle)


def spelled_out(queue: Sequence[Queued], now_s: float, policy: Batch, idle: int) -> Take | Wait:
    """The policy as it is described, going through the whole queue."""
    first = min(queue, key=lambda item: (item.due_s, -item.audio_s, item.index))
    others = [item for item in queue if item is not first]
    others.sort(key=lambda item: (abs(item.audio_s - first.audio_s), item.due_s, item.index))
    chosen: list[Queued] = []
    fits = True
    for item in [first, *others, None]:
        longest_s = max(one.audio_s for one in (*chosen, item or first))
        fits = not chosen or (
            len(chosen) < policy.max_size and policy.padded_s(longest_s) * (len(chosen) + 1) <= policy.max_audio_s
        )
        if item is None or not fits:
            break
        chosen.append(item)
    if fits and now_s < first.arrival_s + policy.max_wait_s:
        return Wait(first.arrival_s + policy.max_wait_s)
    share = chosen[: math.ceil(len(queue) / idle)]
    return Take(tuple(item.index for item in sorted(share, key=lambda item: (-item.audio_s, item.index))))


few_lengths = st.lists(
    st.tuples(st.sampled_from([0.0, 1.0, OFFLINE]), st.sampled_from([1.0, 2.0, 3.0, 4.5]), st.sampled_from([0.0, 3.0])),
    min_size=1,
    max_size=30,
).map(lambda found: [Queued(index, arrival, audio, before) for index, (arrival, audio, before) in enumerate(found)])


@given(
    st.one_of(queues, few_lengths), policies, st.floats(0, 200), st.integers(1, 8), st.randoms(use_true_random=False)
)
def test_decisions_are_those_of_the_policy_spelled_out(
    queue: list[Queued], policy: Batch, now: float, idle: int, shuffle: random.Random
) -> None:
    waiting = Queue(shuffle.sample(queue, len(queue)))
    while queue:
        decision = batching.decide(waiting, now, policy, idle=idle)
        assert decision == spelled_out(queue, now, policy, idle)
        if isinstance(decision, Wait):
            return
        for index in decision.indices:
            waiting.remove(index)
        queue = [item for item in queue if item.index not in decision.indices]
    assert not len(waiting)


@given(queues, policies, st.floats(0, 200), st.integers(1, 8))
def test_a_batch_keeps_its_limits_and_never_starves_the_oldest(
    queue: list[Queued], policy: Batch, now: float, idle: int
) -> None:
    decision = decide(queue, now, policy, idle=idle)
    oldest = min(item.arrival_s for item in queue)
    if isinstance(decision, Wait):
        assert now < decision.until_s == oldest + policy.max_wait_s
        return
    chosen = [queue[index] for index in decision.indices]
    assert len(set(decision.indices)) == len(chosen) <= min(policy.max_size, math.ceil(len(queue) / idle))
    padded_s = policy.padded_s(max(item.audio_s for item in chosen))
    assert padded_s >= max(item.audio_s for item in chosen) - 1e-6
    assert len(chosen) == 1 or padded_s * len(chosen) <= policy.max_audio_s
    assert oldest in [item.arrival_s for item in chosen]
    assert [item.audio_s for item in chosen] == sorted((item.audio_s for item in chosen), reverse=True)


@given(queues, policies)
def test_draining_a_queue_runs_everything_exactly_once(queue: list[Queued], policy: Batch) -> None:
    waiting = {item.index: item for item in queue}
    seen: list[int] = []
    while waiting:
        decision = decide(list(waiting.values()), math.inf, policy)
        assert isinstance(decision, Take)
        seen += [waiting.pop(index).index for index in decision.indices]
    assert sorted(seen) == list(range(len(queue)))


@given(queues, policies, st.floats(0, 100))
def test_the_decision_depends_on_nothing_but_queue_and_clock(queue: list[Queued], policy: Batch, now: float) -> None:
    assert decide(queue, now, policy) == decide(list(reversed(queue)), now, policy)


def test_offline_work_never_waits() -> None:
    policy = Batch(max_size=8, max_audio_s=300, max_wait_s=10)
    queue = [Queued(0, OFFLINE, 2.0), Queued(1, OFFLINE, 7.0)]
    assert decide(queue, 0.0, policy) == Take((1, 0))


def test_a_growing_batch_waits_for_company_and_a_full_one_does_not() -> None:
    policy = Batch(max_size=2, max_audio_s=300, max_wait_s=0.5)
    assert decide([Queued(0, 10.0, 3.0)], 10.2, policy) == Wait(10.5)
    assert decide([Queued(0, 10.0, 3.0)], 10.5, policy) == Take((0,))
    assert decide([Queued(0, 10.0, 3.0), Queued(1, 10.1, 4.0)], 10.2, policy) == Take((1, 0))


def test_an_oversized_segment_runs_alone_and_at_once() -> None:
    policy = Batch(max_size=8, max_audio_s=30, max_wait_s=5)
    assert decide([Queued(0, 1.0, 60.0)], 1.0, policy) == Take((0,))


def test_neighbours_in_length_are_batched_together() -> None:
    policy = Batch(max_size=2, max_audio_s=300, max_wait_s=0)
    queue = [Queued(0, 0.0, 5.0), Queued(1, 0.0, 30.0), Queued(2, 0.0, 6.0), Queued(3, 0.0, 29.0)]
    assert decide(queue, 1.0, policy) == Take((1, 3))


def test_an_empty_queue_is_an_error() -> None:
    with pytest.raises(ValueError, match="at least one segment"):
        decide([], 0.0, Batch(max_size=1, max_audio_s=1, max_wait_s=0))


def test_a_short_request_passes_what_a_long_recording_has_far_ahead() -> None:
    policy = Batch(max_size=1, max_audio_s=60, max_wait_s=0)
    long = [Queued(index, 100.0, 30.0, before_s=30.0 * index) for index in range(4)]
    assert decide([*long, Queued(9, 110.0, 2.0)], 110.0, policy) == Take((0,)), "what is due is due"
    assert decide([*long[1:], Queued(9, 110.0, 2.0)], 110.0, policy) == Take((9,))


def test_what_is_due_is_never_passed_for_ever() -> None:
    """A long recording's segment comes first once it is due, however many short requests keep coming."""
    policy = Batch(max_size=1, max_audio_s=60, max_wait_s=0)
    segment = Queued(0, 100.0, 30.0, before_s=60.0)
    for now in (130.0, 159.0):
        assert decide([segment, Queued(1, now, 2.0)], now, policy) == Take((1,))
    assert decide([segment, Queued(1, 161.0, 2.0)], 161.0, policy) == Take((0,))


def test_idle_engines_share_what_waits() -> None:
    policy = Batch(max_size=4, max_audio_s=300, max_wait_s=0)
    queue = [Queued(index, OFFLINE, 10.0 - index) for index in range(4)]
    assert decide(queue, 0.0, policy, idle=1) == Take((0, 1, 2, 3))
    assert decide(queue, 0.0, policy, idle=2) == Take((0, 1))
    assert decide(queue[:3], 0.0, policy, idle=2) == Take((0, 1))
    assert decide(queue, 0.0, policy, idle=8) == Take((0,))
    many = [Queued(index, OFFLINE, 10.0) for index in range(40)]
    assert decide(many, 0.0, policy, idle=2) == Take((0, 1, 2, 3)), "there is enough for all"
