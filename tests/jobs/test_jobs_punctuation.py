"""``--punc-model``: every deployment of a study punctuates, and so does what it is compared with."""

from __future__ import annotations

import random
import shutil
from pathlib import Path
from typing import Any

import pytest

import autotune
from autotune.audio import Workload, build_workload, load_profile
from autotune.deploy_yaml import read_deployment_file, replica_memory, write_deployment_file
from autotune.deployment import Deployment, PunctuationFormat
from autotune.errors import DocumentError, ModelError
from autotune.files import cache_dir
from autotune.hardware import probe_hardware
from autotune.jobs.options import TuneOptions
from autotune.jobs.punctuation_choice import ChosenPunctuation, choose_punctuation, fastest
from autotune.jobs.trial_runner import TrialRunner, TrialSubject
from autotune.jobs.tune_job import _baselines, _Task
from autotune.measure import HearingRequest, Measurement, TrialRequest, hear, run_trial
from autotune.measure.punctuation import PunctuationTimes
from autotune.models import resolve_model
from autotune.planning.capacity import notes_of
from autotune.planning.demand import parse_demand
from autotune.reporting import Silent
from autotune.space.loading import load_space
from autotune.space.resolving import resolve
from autotune.space.restricting import fit_architecture, with_punctuation
from autotune.space.targets import find_target
from tests.deployment_example import example_deployment, example_file
from tests.fake_engine import fake_deployment
from tests.punctuation_example import TINY, punctuation_folder, punctuation_stage, tiny_punctuation
from tests.study.synthetic_search import machine

MARKS = set("，。？、,.?")


def test_every_deployment_of_the_space_has_the_stage_and_is_found_again() -> None:
    plain = resolve(load_space("all"), machine(4), devices=None, arrival="offline")
    space = with_punctuation(plain, punctuation_stage(), find_target("autotune"))
    assert (space.size, space.hash != plain.hash) == (plain.size, True)
    generator = random.Random(0)
    for deployment in [*space.experts(), *(space.sample(generator) for _ in range(50))]:
        assert deployment.punctuation == punctuation_stage()
        assert space.encode(deployment)
        assert {item.punctuation for item in space.neighbours(deployment)} == {punctuation_stage()}
        without = deployment.model_copy(update={"punctuation": None})
        assert without.key != deployment.key
        assert plain.encode(without) == space.encode(deployment)
        with pytest.raises(DocumentError, match="must be in the search space"):
            space.encode(without)


def test_funasrs_default_punctuates_with_its_own_threads() -> None:
    task = _Task(find_target("autotune"), machine(2), ("cpu",), load_profile("long"), {})
    chosen = ChosenPunctuation(tiny_punctuation(), punctuation_stage())
    baselines = _baselines(task, punctuation=chosen)
    assert [item.intra_op_num_threads for item in baselines] == [4, 2]
    for item in baselines:
        assert item.punctuation == punctuation_stage("pytorch-fp32", item.intra_op_num_threads)
        assert Deployment.model_validate(item.model_dump()) == item


def chosen(options: TuneOptions, target: str = "autotune", objective: str = "throughput") -> ChosenPunctuation | None:
    return choose_punctuation(options, find_target(target), probe_hardware(), objective, Silent())


def test_the_model_is_prepared_before_anything_is_measured() -> None:
    assert chosen(TuneOptions()) is None
    found = chosen(TuneOptions(punc_model=TINY))
    assert found is not None
    assert found.model == tiny_punctuation()
    with pytest.raises(ModelError, match="must be a directory"):
        chosen(TuneOptions(punc_model="nowhere"))


def test_format_and_threads_are_timed_once_and_the_fastest_is_chosen() -> None:
    found, again = chosen(TuneOptions(punc_model=TINY)), chosen(TuneOptions(punc_model=TINY))
    assert found is not None
    assert found == again, "the figures are kept: whoever goes on with a study chooses the same"
    counts = [count for count in (1, 2, 4, 8) if count <= probe_hardware().usable_cores]
    assert [(row.format, row.threads) for row in found.times] == [
        (fmt, count) for fmt in ("onnx-fp32", "onnx-int8") for count in counts
    ]
    assert {row.same_marks for row in found.times if row.format == "onnx-fp32"} == {1.0}
    assert found.stage in [tiny_punctuation().stage(row.format, row.threads) for row in found.times]


def test_other_servers_and_shared_studies_have_the_simplest() -> None:
    for options, target in (
        (TuneOptions(punc_model=TINY), "funasr-wss"),
        (TuneOptions(punc_model=TINY, storage="postgresql://localhost/x"), "autotune"),
    ):
        found = chosen(options, target)
        assert found == ChosenPunctuation(tiny_punctuation(), punctuation_stage())


def times(fmt: PunctuationFormat, threads: int, word_s: float, core_word_s: float, same: float) -> PunctuationTimes:
    return PunctuationTimes(
        format=fmt, threads=threads, word_s=word_s, core_word_s=core_word_s, memory_bytes=1, same_marks=same
    )


def test_latency_counts_seconds_throughput_core_seconds_and_marks_must_stay() -> None:
    plain, two = times("onnx-fp32", 1, 1.0, 1.0, 1.0), times("onnx-fp32", 2, 0.6, 1.2, 1.0)
    small, rough = times("onnx-int8", 1, 0.7, 0.7, 0.995), times("onnx-int8", 2, 0.4, 0.4, 0.9)
    rows = [plain, two, small, rough]
    assert fastest(rows, alone=True, least_same=0.99) is two
    assert fastest(rows, alone=False, least_same=0.99) is small
    assert fastest(rows, alone=False, least_same=0.0) is rough
    close = times("onnx-int8", 1, 0.95, 0.95, 1.0)
    assert fastest([plain, close], alone=False, least_same=0.99) is plain, "less than a tenth is noise"


def test_its_times_are_kept_in_the_file_and_its_memory_in_the_plan(tmp_path: Path) -> None:
    rows = (times("onnx-fp32", 1, 1.0, 1.0, 1.0), times("onnx-int8", 1, 0.5, 0.5, 1.0))
    rows = (rows[0], rows[1].model_copy(update={"memory_bytes": 1000}))
    stage = punctuation_stage("onnx-int8")
    plain = example_file(deployment=example_deployment(punctuation=stage))
    document = plain.model_copy(update={"punctuation_times": rows})
    write_deployment_file(tmp_path / "deploy.yaml", document)
    assert read_deployment_file(tmp_path / "deploy.yaml") == document
    assert "punctuation_times" not in plain.to_json()
    needed = replica_memory(document)
    assert needed.punctuation == 1200
    assert needed.total == replica_memory(plain).total, "the measured peak has it already"
    stages = {**document.measurement.stages, "punctuation": 0.0}
    stages["punctuation"] = sum(stages.values()) / 3
    measured = document.measurement.model_copy(update={"stages": stages})
    notes = notes_of(document.model_copy(update={"measurement": measured}), parse_demand("1 audio-hour/day"))
    assert "Punctuation takes 25.0% of the core-seconds and 0.0 MiB of" in " ".join(notes)
    assert "Punctuation" not in " ".join(notes_of(plain, parse_demand("1 audio-hour/day")))


@pytest.mark.parametrize("target", ["funasr-wss-2pass", "funasr-onnx", "funasr-python", "triton"])
def test_servers_that_cannot_be_given_it_say_so(target: str) -> None:
    found = find_target(target)
    with pytest.raises(DocumentError, match=rf"a target that punctuates by it, but {target} \("):
        chosen(TuneOptions(punc_model=TINY), target)
    lost = found.lost(example_deployment(punctuation=punctuation_stage()), "Paraformer")
    assert [path for path in lost if path.startswith("punctuation")] == ["punctuation.model"]


@pytest.mark.parametrize("target", ["funasr-wss", "funasr-http"])
def test_funasrs_servers_punctuate_with_the_models_threads(target: str) -> None:
    found = find_target(target)
    assert found.punctuates
    task = _Task(found, machine(4), ("cpu",), load_profile("long"), {})
    plain = task.space(load_space("onnxruntime"), "/models/fsmn")
    space = with_punctuation(plain, punctuation_stage(), found)
    assert 0 < space.size < plain.size
    generator = random.Random(0)
    for deployment in [*space.experts(), *(space.sample(generator) for _ in range(50))]:
        assert found.lost(deployment, "Paraformer") == {}
    two = space.experts()[0].model_copy(update={"instances": 1, "intra_op_num_threads": 2})
    assert list(found.lost(two, "Paraformer")) == ["punctuation.threads"]
    with pytest.raises(DocumentError, match="never punctuates the texts of that class"):
        fit_architecture(space, found, "SenseVoiceSmall")
    assert fit_architecture(plain, found, "SenseVoiceSmall").size == plain.size


def test_deployments_without_the_stage_keep_their_keys() -> None:
    plain = example_deployment()
    assert "punctuation" not in plain.canonical()
    assert Deployment.model_validate({**plain.model_dump(), "punctuation": None}).key == plain.key
    fields = {name: value for name, value in plain.model_dump().items() if name != "punctuation"}
    assert Deployment.model_validate(fields).key == plain.key


def test_the_file_keeps_the_stage_and_load_runs_it(tmp_path: Path) -> None:
    deployment = fake_deployment(punctuation=punctuation_stage().model_dump())
    document = example_file(model=resolve_model("random:paraformer-tiny"), deployment=deployment)
    write_deployment_file(tmp_path / "deploy.yaml", document)
    text = (tmp_path / "deploy.yaml").read_text(encoding="utf-8")
    assert "    threads: 1  # threads of its own, on the CPU" in text
    assert read_deployment_file(tmp_path / "deploy.yaml") == document
    with autotune.load(tmp_path / "deploy.yaml") as recognizer:
        assert recognizer.deployment.punctuation == punctuation_stage()
    other = {**punctuation_stage().model_dump(), "sha256": "0" * 64}
    document = document.model_copy(update={"deployment": fake_deployment(punctuation=other)})
    write_deployment_file(tmp_path / "deploy.yaml", document)
    with pytest.raises(ModelError, match="must be the one that was measured"):
        autotune.load(tmp_path / "deploy.yaml")


def test_a_punctuation_model_that_has_moved_is_found_where_it_lies_now(tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    shutil.copytree(tiny_punctuation().path, there)
    stage = punctuation_stage().model_copy(update={"model": str(here)})
    document = example_file(
        model=resolve_model("random:paraformer-tiny"), deployment=fake_deployment(punctuation=stage.model_dump())
    )
    write_deployment_file(tmp_path / "deploy.yaml", document)
    with pytest.raises(ModelError, match=r"deployment\.punctuation\.model.*--punc-model"):
        autotune.load(tmp_path / "deploy.yaml")
    with autotune.load(tmp_path / "deploy.yaml", punc_model=str(there)) as recognizer:
        assert recognizer.deployment.punctuation == stage.model_copy(update={"model": str(there)})
    (there / "tokens.json").write_text("[]", encoding="utf-8")
    with pytest.raises(ModelError, match="must"):
        autotune.load(tmp_path / "deploy.yaml", punc_model=str(there))
    for option in ("vad_model", "punc_model"):
        write_deployment_file(tmp_path / "plain.yaml", example_file())
        with pytest.raises(DocumentError, match=f"--{option.replace('_', '-')} must be left out"):
            autotune.load(tmp_path / "plain.yaml", **{option: str(there)})  # type: ignore[arg-type]


class Judge:
    """Takes every text as it is."""

    def __init__(self) -> None:
        self.texts: dict[str, str] = {}

    def expects(self, _: Any) -> bool:
        return True

    def assess(self, texts: dict[str, str], _: Any = None) -> None:
        self.texts = dict(texts)


@pytest.fixture(scope="module")
def tiny_workload() -> Workload:
    """A shard of the short profile, and another as its hearing."""
    whole = build_workload(
        load_profile("short"), seed=0, shards=2, recordings_per_shard=4, cache=cache_dir() / "workloads"
    )
    timed, heard = whole.shards
    return whole.model_copy(update={"shards": (timed,), "hearing": heard.recordings, "arrival": "closed"})


def subject(workload: Workload, judge: Any) -> TrialSubject:
    return TrialSubject(resolve_model("random:paraformer-tiny"), workload, probe_hardware(), judge)


def test_trials_and_hearings_are_judged_by_texts_before_punctuation(tiny_workload: Workload) -> None:
    requests: list[TrialRequest | HearingRequest] = []

    def run(request: TrialRequest, **rest: Any) -> Measurement:
        requests.append(request)
        return run_trial(request.model_copy(update={"keep_texts": True}), **rest)

    def transcribe(request: HearingRequest, hardware: Any) -> dict[str, tuple[str, ...]]:
        requests.append(request)
        return hear(request, hardware)

    deployment = fake_deployment(punctuation=punctuation_stage().model_dump())
    judge = Judge()
    runner = TrialRunner(subject(tiny_workload, judge), Silent(), run=run, transcribe=transcribe)
    measurement = runner(deployment)
    assert {request.punctuation_path for request in requests} == {str(punctuation_folder())}
    assert measurement.stages_s["punctuation"] > 0
    heard = {one.id for one in tiny_workload.judged[::4]}
    assert not any(set(judge.texts[name]) & MARKS for name in heard)
    timed = {name: text for name, text in measurement.texts.items() if name not in heard}
    assert any(set(text) & MARKS for text in timed.values())
    runner.hear(deployment)
    assert set(judge.texts) == {one.id for one in tiny_workload.judged}
    assert not any(set(text) & MARKS for text in judge.texts.values())
