"""Which noise disturbs, what the verdict says, and how often a disturbed measurement is repeated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autotune.jobs.repeater import Repeater
from autotune.measure import Measurement
from autotune.measure.interference import disturbances, severity, verdict
from autotune.reporting import Remaining
from tests.study.synthetic_search import measured

OTHERS = {"other_cpu_share": 0.31}


def with_noise(noise: Mapping[str, float], rtfx: float = 10.0, **changes: Any) -> Measurement:
    return measured(rtfx).model_copy(update={"noise": dict(noise), **changes})


class Told:
    """A reporter that remembers."""

    def __init__(self) -> None:
        self.loud: list[str] = []

    def note(self, text: str, *, loud: bool = False) -> None:
        assert loud, text
        self.loud.append(text)

    def interim(self, text: str, facts: Mapping[str, Any]) -> None:
        raise NotImplementedError("repeating has no result of its own")

    def working(self, text: str, detail: str = "") -> None:
        raise NotImplementedError("repeating shows no work of its own")

    def step(self, phase: str, done: int, total: int | None, text: str, left: Remaining | None = None) -> None:
        raise NotImplementedError("repeating counts no steps")


@pytest.mark.parametrize(
    ("noise", "names"),
    [
        ({}, []),
        ({"other_cpu_share": 0.05, "steal_share": 0.02, "overheated": 0.0, "gpu_other_processes": 0.0}, []),
        (OTHERS, ["other_cpu_share"]),
        ({"steal_share": 0.03, **OTHERS}, ["other_cpu_share", "steal_share"]),
        ({"overheated": 1.0}, ["overheated"]),
        ({"gpu_throttled": 1.0, "gpu_other_processes": 2.0}, ["gpu_throttled", "gpu_other_processes"]),
        ({"waited_share": 1.7, "involuntary_switches": 1e5, "load_average": 9.0, "clock_share": 0.3}, []),
        ({"throttled_s": 8.0}, []),  # its own quota
        ({"quota_others_share": 0.4, "throttled_s": 0.0}, []),  # nobody was kept waiting
        ({"quota_others_share": 0.4, "throttled_s": 2.0}, ["quota_others_share"]),
        ({"unheard_of": 1.0}, []),
    ],
)
def test_only_what_others_do_disturbs(noise: dict[str, float], names: list[str]) -> None:
    assert [one.name for one in disturbances(noise)] == names


def test_the_verdict_says_why_and_what_to_do() -> None:
    assert measured(10).verdict == "stable"
    assert with_noise(OTHERS).verdict == (
        "noisy because other processes used 31 % of the CPUs: stop them, or measure when the machine is idle"
    )
    both = with_noise({"gpu_other_processes": 1.0, "steal_share": 0.1}).verdict
    assert both.startswith("noisy because the hypervisor gave 10 % of the CPU time to other machines: ")
    assert "; 1 other process had the GPU open: stop them" in both


def test_a_warm_up_that_did_not_settle_is_told_but_does_not_disturb() -> None:
    unsteady = measured(10).model_copy(update={"steady": False, "warmup_passes_s": (3.0, 2.0)})
    assert unsteady.verdict == "noisy because its speed had not settled after 2 warm-up passes: measure on more audio"
    assert unsteady.disturbances == ()
    assert verdict((), 1, steady=False).startswith("noisy because its speed had not settled after 1 warm-up pass:")


@given(st.dictionaries(st.sampled_from(["other_cpu_share", "steal_share", "gpu_throttled"]), st.floats(0, 1)))
def test_severity_is_zero_only_without_disturbances_and_grows_with_each(noise: dict[str, float]) -> None:
    found = disturbances(noise)
    assert (severity(found) == 0) == (found == ())
    assert severity(found) >= 1 or not found
    assert severity(disturbances({**noise, "overheated": 1.0})) > severity(found)
    assert all(one.value > one.limit for one in found)


def test_measurements_of_older_versions_are_read() -> None:
    data = measured(10).model_dump(mode="json")
    for name in ("warmup_passes_s", "steady", "cut_short"):
        del data[name]
    assert Measurement.model_validate(data) == measured(10)
    assert Measurement.model_validate(data).verdict == "stable"


class Scripted:
    """Measurements one after the other; pauses are remembered, not waited for."""

    def __init__(self, noises: Sequence[Mapping[str, float]]) -> None:
        self.left = [with_noise(noise, rtfx=number + 1) for number, noise in enumerate(noises)]
        self.pauses: list[float] = []
        self.told = Told()
        self.repeater = Repeater(self.told, self.pauses.append)

    def measured(self) -> float:
        """RTFx of what was chosen: the number of the attempt, from 1."""
        return self.repeater.measured(lambda: self.left.pop(0)).rtfx


def test_what_is_undisturbed_is_not_repeated() -> None:
    script = Scripted([{}, OTHERS])
    assert script.measured() == pytest.approx(1)
    assert (script.pauses, script.told.loud, len(script.left)) == ([], [], 1)


def test_what_is_disturbed_is_measured_again_after_a_pause() -> None:
    script = Scripted([OTHERS, {}])
    assert script.measured() == pytest.approx(2)
    assert script.pauses == [5]
    (text,) = script.told.loud
    assert text.startswith("measured again in 5 s: other processes used 31 % of the CPUs")


def test_of_three_disturbed_attempts_the_least_disturbed_is_taken() -> None:
    script = Scripted([OTHERS, {"other_cpu_share": 0.1}, {"other_cpu_share": 0.2}])
    assert script.measured() == pytest.approx(2)
    assert script.pauses == [5, 20]


def test_a_machine_that_is_never_quiet_is_told_once_and_nothing_repeated_until_it_is_quiet() -> None:
    script = Scripted([OTHERS] * 6 + [OTHERS, OTHERS, {}, OTHERS, {}])
    first, second = script.measured(), script.measured()
    assert [first, second] == pytest.approx([1, 4])
    assert len(script.pauses) == 4
    assert script.told.loud[-1].startswith("This machine is not quiet: 2 deployments in a row")
    told = len(script.told.loud)
    assert [script.measured() for _ in range(3)] == pytest.approx([7, 8, 9])  # one attempt each
    assert (len(script.pauses), len(script.told.loud)) == (4, told)
    assert script.measured() == pytest.approx(11)  # quiet before, so this one is repeated
    assert script.pauses[4:] == [5]


def test_an_undisturbed_deployment_between_two_noisy_ones_starts_the_count_anew() -> None:
    script = Scripted([OTHERS] * 3 + [{}] + [OTHERS] * 3)
    assert [script.measured() for _ in range(3)] == pytest.approx([1, 4, 5])
    assert not any("not quiet" in text for text in script.told.loud)
