"""Figures of several measurements: what docs/deploy-yaml.md says of each, in whatever order they were measured."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autotune.accuracy import Accuracy
from autotune.accuracy.record import ClipCount, WorseText
from autotune.measure import Measurement, Pooled
from autotune.measure.measurement import NewShapes, ShardSample
from tests.study.synthetic_search import measured

FIGURES = [name for name, member in vars(Pooled).items() if isinstance(member, property | cached_property)]
SHARES = (0.0, 0.3, 0.5, 0.95, 0.99, 1.0)

positive = st.floats(1e-3, 1e3)
share = st.floats(0, 1)
counts = st.tuples(st.integers(0, 9), st.integers(0, 9), st.integers(1, 40))
samples = st.builds(
    ShardSample,
    shard=st.integers(0, 3),
    audio_s=positive,
    processing_s=positive,
    latencies_s=st.lists(positive, min_size=1, max_size=5).map(tuple),
)
noises = st.dictionaries(st.sampled_from(["steal_share", "other_cpu_share", "clock_share", "gpu_clock_share"]), share)


def worse(clip: str, errors: int, reference_errors: int, got: str) -> WorseText:
    return WorseText(
        clip=clip, errors=errors, reference_errors=reference_errors, expected="开灯", got=got, reference_got="开灯"
    )


@st.composite
def accuracies(draw: st.DrawFn) -> Accuracy:
    """As the judge gives them: clips by name, of the worst those first that lost the most."""
    rows = draw(st.dictionaries(st.sampled_from("abcde"), counts, min_size=1))
    clips = tuple(ClipCount(clip, *rows[clip]) for clip in sorted(rows))
    lost = sorted((clip for clip in clips if clip.errors > clip.reference_errors), key=lambda clip: clip[2] - clip[1])
    worst = [worse(clip.clip, clip.errors, clip.reference_errors, draw(st.sampled_from("开灯关"))) for clip in lost[:3]]
    utterances = draw(st.integers(len(rows), 20))
    return Accuracy(unit="cer", tokens="characters", utterances=utterances, clips=clips, worst=tuple(worst))


@st.composite
def measurements(draw: st.DrawFn) -> Measurement:
    update = {
        "shards": tuple(draw(st.lists(samples, min_size=1, max_size=3))),
        "load_s": draw(positive),
        "peak_memory_bytes": draw(st.integers(1, 2**40)),
        "stages_s": {name: draw(share) for name in ("read", "engine")},
        "padding_share": draw(share),
        "new_shapes": NewShapes(share=draw(share), cost=draw(st.none() | st.floats(-1, 9))),
        "noise": draw(noises),
        "steady": draw(st.booleans()),
        "warmup_passes_s": (1.0,) * draw(st.integers(1, 3)),
        "accuracy": draw(accuracies()),
    }
    return measured(1.0).model_copy(update=update)


several = st.lists(measurements(), min_size=1, max_size=4).map(tuple)


def figures(pooled: Pooled) -> dict[str, Any]:
    """Everything that it says, by the name of the figure."""
    said = {name: getattr(pooled, name) for name in FIGURES}
    return said | {f"p{100 * share:g}": pooled.latency_s(share) for share in SHARES}


@given(st.data(), several)
def test_no_figure_depends_on_the_order(data: st.DataObject, ordered: tuple[Measurement, ...]) -> None:
    shuffled = tuple(data.draw(st.permutations(ordered)))
    assert figures(Pooled(shuffled)) == figures(Pooled(ordered))


@given(measurements())
def test_one_measurement_gives_its_own_figures(alone: Measurement) -> None:
    said = figures(Pooled((alone,)))
    assert said["rtfx"] == alone.rtfx
    assert said["audio_s"] == alone.audio_s
    assert said["p0"] == min(alone.latencies_s)
    assert said["p100"] == max(alone.latencies_s)
    assert said["stability"] == alone.verdict
    assert said["stages"] == {name: seconds / alone.audio_s for name, seconds in alone.stages_s.items()}
    for name in ("peak_memory_bytes", "accuracy", "load_s", "padding_share", "new_shapes", "noise"):
        assert said[name] == getattr(alone, name), name


@given(several)
def test_speed_is_a_ratio_of_sums_and_latencies_are_one_set_of_samples(several: tuple[Measurement, ...]) -> None:
    pooled, shards = Pooled(several), [sample for measurement in several for sample in measurement.shards]
    assert pooled.rtfx == pytest.approx(sum(one.audio_s for one in shards) / sum(one.processing_s for one in shards))
    union = [latency for sample in shards for latency in sample.latencies_s]
    for share in SHARES:
        assert pooled.latency_s(share) == pytest.approx(np.quantile(union, share))
    assert pooled.p95_latency_s == pooled.latency_s(0.95)
    assert pooled.stages["engine"] * pooled.audio_s == pytest.approx(sum(one.stages_s["engine"] for one in several))


def test_a_fast_measurement_does_not_count_for_more_than_its_audio() -> None:
    assert Pooled((measured(100), measured(50))).rtfx == pytest.approx(2 / (1 / 100 + 1 / 50))


@given(several)
def test_memory_and_noise_are_the_worst_the_rest_is_the_median(several: tuple[Measurement, ...]) -> None:
    pooled = Pooled(several)
    assert pooled.peak_memory_bytes == max(measurement.peak_memory_bytes for measurement in several)
    assert pooled.stability in {measurement.verdict for measurement in several}
    assert pooled.load_s == pytest.approx(np.median([measurement.load_s for measurement in several]))
    assert pooled.padding_share == pytest.approx(np.median([measurement.padding_share for measurement in several]))
    assert pooled.new_shapes.share == pytest.approx(np.median([one.new_shapes.share for one in several]))
    costs = [one.new_shapes.cost for one in several if one.new_shapes.cost is not None]
    assert pooled.new_shapes.cost == (pytest.approx(np.median(costs)) if costs else None)


def test_the_worst_of_a_clock_is_the_lowest_of_everything_else_the_highest() -> None:
    facts: tuple[dict[str, float], ...] = (
        {"steal_share": 0.1, "clock_share": 0.9},
        {"clock_share": 0.7, "throttled_s": 2.0},
        {},
    )
    pooled = Pooled(tuple(measured(10).model_copy(update={"noise": noise}) for noise in facts))
    assert pooled.noise == {"clock_share": 0.7, "steal_share": 0.1, "throttled_s": 2.0}


def test_the_verdict_is_that_of_the_most_disturbed() -> None:
    quiet, unsteady = measured(10), measured(11).model_copy(update={"steady": False})
    mild, bad = (quiet.model_copy(update={"noise": {"other_cpu_share": share}}) for share in (0.06, 0.31))
    assert Pooled((quiet, mild, bad, unsteady)).stability == bad.verdict
    assert Pooled((quiet, unsteady)).stability == unsteady.verdict != quiet.verdict


@given(several)
def test_errors_and_lengths_of_each_clip_add_up(several: tuple[Measurement, ...]) -> None:
    accuracy, own = Pooled(several).accuracy, [one.accuracy for one in several if one.accuracy]
    assert accuracy is not None
    assert accuracy.utterances == sum(one.utterances for one in own)
    clips = [count for one in own for count in one.clips]
    assert [count.clip for count in accuracy.clips] == sorted({count.clip for count in clips})
    for count in accuracy.clips:
        same = [one for one in clips if one.clip == count.clip]
        assert count.errors == sum(one.errors for one in same)
        assert count.reference_errors == sum(one.reference_errors for one in same)
        assert count.length == sum(one.length for one in same)
    assert accuracy.rate == pytest.approx(sum(one.errors for one in clips) / sum(one.length for one in clips))
    losses = [text.errors - text.reference_errors for text in accuracy.worst]
    assert losses == sorted(losses, reverse=True)
    assert len(losses) == len({text.clip for text in accuracy.worst}) <= 3
    assert max(losses, default=0) == max(
        (text.errors - text.reference_errors for one in own for text in one.worst), default=0
    )


@given(several)
def test_measurements_without_a_hearing_add_nothing(several: tuple[Measurement, ...]) -> None:
    assert Pooled((*several, measured(10))).accuracy == Pooled(several).accuracy
    assert Pooled((measured(10), measured(11))).accuracy is None


def test_nothing_and_what_was_counted_differently_have_no_figures() -> None:
    with pytest.raises(ValueError, match="must be measured"):
        Pooled(())
    count = ClipCount("a", 1, 1, 10)
    cer = Accuracy(unit="cer", tokens="characters", utterances=1, clips=(count,), worst=())
    both = (cer, cer.model_copy(update={"unit": "wer"}))
    with pytest.raises(ValueError, match="counted alike"):
        figures(Pooled(tuple(measured(1).model_copy(update={"accuracy": accuracy}) for accuracy in both)))
