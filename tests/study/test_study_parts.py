"""Search by parts: the first trial of an engine configuration tells how fast all ways to cut and batch would be."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from autotune.deployment import Chunking, Deployment
from autotune.jobs.study_parts import timed_shapes
from autotune.measure import Measurement
from autotune.simulation.service_times import CutRecording, ReadingTimes, ServicePoint, ServiceTimes
from autotune.simulation.whole import whole_rtfx
from autotune.study.budget import Budget
from autotune.study.candidates import StudyEvent
from autotune.study.parts import Parts, engine_configuration, with_way
from autotune.study.records import TrialRecord
from autotune.study.storage import open_storage
from autotune.study.study import TuningStudy
from tests.study.synthetic_search import BASELINES, measured, shipped_space, true_rtfx

CORES = 2
SPACE = shipped_space(CORES)
SHAPES = timed_shapes(SPACE)
RECORDING_S, RECORDINGS = 120.0, 4
SPEECH_CORE_S = 0.002


def cut(chunking: Chunking) -> tuple[CutRecording, ...]:
    """Windows as long as they may be; speech ends by chance, at most where a segment must."""
    longest = chunking.window_s or chunking.max_segment_s or RECORDING_S

    def pieces(number: int) -> Iterator[tuple[float, float, float]]:
        generator, start = random.Random(number), 0.0
        while start < RECORDING_S:
            length = min(longest, RECORDING_S - start)
            if chunking.method == "vad":
                length = min(length, generator.uniform(1, 12))
            yield start, length, RECORDING_S
            start += length

    return tuple(CutRecording(audio_s=RECORDING_S, pieces=tuple(pieces(number))) for number in range(RECORDINGS))


def speech(chunking: Chunking) -> float:
    return SPEECH_CORE_S if chunking.method == "vad" else 0.0


def seconds(configuration: Deployment, size: int, padded_s: float) -> float:
    """Invented: each engine has a speed, a cost of a batch, and a length from which on it becomes slow."""
    generator = random.Random(configuration.key)
    speed: float = 60 * generator.lognormvariate(0, 0.5) * configuration.intra_op_num_threads**0.8
    start_s, slow_from_s = generator.uniform(0.002, 0.05), generator.uniform(20, 200)
    return start_s + size * padded_s * (1 + padded_s / slow_from_s) / speed


def points(configuration: Deployment, noise: float) -> tuple[ServicePoint, ...]:
    generator = random.Random(f"{configuration.key} timed")
    return tuple(
        ServicePoint(
            size=size,
            padded_s=padded_s,
            busy=configuration.instances,
            seconds=seconds(configuration, size, padded_s) * math.exp(generator.gauss(0, noise)),
            count=2,
        )
        for size, padded_s in SHAPES
    )


@cache
def truth(deployment: Deployment) -> float:
    """RTFx of a whole, from parts as they are."""
    configuration = engine_configuration(deployment)
    times = ServiceTimes(
        engines=deployment.instances,
        points=points(configuration, 0.0),
        spread=(1.0,),
        reading=ReadingTimes(read=0.0001, chunk=0.0, features=0.0005),
    )
    chunking = deployment.chunking
    return whole_rtfx(deployment, times, cut(chunking), CORES, speech_core_s=speech(chunking))


class Runner:
    """Wholes and service times with noise of 3 %; an engine configuration's batches are timed once."""

    def __init__(self, seed: int) -> None:
        self.generator, self.timed = random.Random(seed), set[Deployment]()
        self.asked: list[Deployment] = []

    def __call__(self, deployment: Deployment, hopeless_below: float = 0.0) -> Measurement:
        del hopeless_below
        if deployment.engine == "funasr":
            return measured(true_rtfx(deployment))
        self.asked.append(deployment)
        configuration = engine_configuration(deployment)
        found = () if configuration in self.timed else points(configuration, 0.03)
        self.timed.add(configuration)
        measurement = measured(truth(deployment) * math.exp(self.generator.gauss(0, 0.03)))
        stages_s = {"read": 0.0001 * measurement.audio_s, "features": 0.0005 * measurement.audio_s, "engine": 1.0}
        return measurement.model_copy(update={"service_points": found, "stages_s": stages_s})


def parts_of(deployments: list[Deployment], seed: int = 0) -> Parts:
    runner, parts = Runner(seed), Parts(cut, speech, CORES)
    parts.learn(
        [
            TrialRecord(number, "search", one, runner(one), "complete", "", 1.0, anchor=10.0)
            for number, one in enumerate(deployments)
        ]
    )
    return parts


def test_one_trial_predicts_every_way_of_its_engine_configuration() -> None:
    expert = SPACE.experts()[0]
    parts = parts_of([expert])
    generator = random.Random(0)
    ways = [with_way(expert, SPACE.sample(generator)) for _ in range(40)]
    errors = [math.exp(parts.predict(way)) * 10 / truth(way) - 1 for way in ways]
    assert all(parts.knows(way) for way in ways)
    assert sorted(map(abs, errors))[len(errors) // 2] < 0.05
    assert not parts.knows(SPACE.experts()[-1])


def test_a_way_keeps_the_engine_configuration_apart() -> None:
    first, second = SPACE.experts()[0], SPACE.experts()[-1]
    mixed = with_way(first, second)
    assert engine_configuration(mixed) == engine_configuration(first)
    assert (mixed.chunking, mixed.batch, mixed.readers) == (second.chunking, second.batch, second.readers)
    assert with_way(mixed, first) == first


def found(seed: int, folder: Path, parts: Parts | None, trials: int) -> float:
    """The true RTFx of what a study recommends."""
    runner = Runner(seed)

    def on_event(_: StudyEvent) -> None: ...

    with TuningStudy.open(
        open_storage(folder / f"{seed}-{bool(parts is None)}.journal"), name="x", space=SPACE, seed=seed, identity={}
    ) as study:
        result = study.run(
            runner,
            Budget(trials=trials),
            baselines=BASELINES,
            on_event=on_event,
            pause=lambda _: None,
            parts=parts,
        )
    return truth(result.best(1)[0].deployment)


def test_parts_find_faster_deployments_in_as_many_trials(tmp_path: Path) -> None:
    ratios = [
        found(seed, tmp_path, Parts(cut, speech, CORES), 16) / found(seed, tmp_path, None, 16) for seed in range(6)
    ]
    assert math.prod(ratios) ** (1 / len(ratios)) > 1.05
    assert min(ratios) > 0.9


def test_a_resumed_study_suggests_the_same(tmp_path: Path) -> None:
    """What is predicted depends on the records alone."""
    once, twice = Runner(0), Runner(0)

    def run(runner: Runner, trials: int, name: str) -> None:
        with TuningStudy.open(open_storage(tmp_path / name), name="x", space=SPACE, seed=3, identity={}) as study:
            study.run(
                runner,
                Budget(trials=trials),
                baselines=BASELINES,
                on_event=lambda _: None,
                pause=lambda _: None,
                parts=Parts(cut, speech, CORES),
            )

    run(once, 14, "once.journal")
    run(twice, 9, "twice.journal")
    run(twice, 14, "twice.journal")
    assert twice.asked == once.asked
    assert len(once.asked) > 12
