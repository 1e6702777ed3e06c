"""``--punc-model``: every deployment of a study punctuates, and so does what it is compared with."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

import autotune
from autotune.audio import Workload, build_workload, load_profile
from autotune.deploy_yaml import read_deployment_file, write_deployment_file
from autotune.deployment import Deployment
from autotune.errors import DocumentError, ModelError
from autotune.files import cache_dir
from autotune.hardware import probe_hardware
from autotune.jobs.options import TuneOptions
from autotune.jobs.trial_runner import TrialRunner, TrialSubject
from autotune.jobs.tune_job import _baselines, _punctuation, _Task
from autotune.measure import HearingRequest, Measurement, TrialRequest, hear, run_trial
from autotune.models import resolve_model
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
    baselines = _baselines(task, punctuation=tiny_punctuation())
    assert [item.intra_op_num_threads for item in baselines] == [4, 2]
    for item in baselines:
        assert item.punctuation == punctuation_stage("pytorch-fp32", item.intra_op_num_threads)
        assert Deployment.model_validate(item.model_dump()) == item


def test_the_model_is_prepared_before_anything_is_measured() -> None:
    assert _punctuation(TuneOptions(), find_target("autotune"), Silent()) is None
    found = _punctuation(TuneOptions(punc_model=TINY), find_target("autotune"), Silent())
    assert found == tiny_punctuation()
    with pytest.raises(ModelError, match="must be a directory"):
        _punctuation(TuneOptions(punc_model="nowhere"), find_target("autotune"), Silent())


@pytest.mark.parametrize("target", ["funasr-wss-2pass", "funasr-onnx", "funasr-python", "triton"])
def test_servers_that_cannot_be_given_it_say_so(target: str) -> None:
    found = find_target(target)
    with pytest.raises(DocumentError, match=rf"a target that punctuates by it, but {target} \("):
        _punctuation(TuneOptions(punc_model=TINY), found, Silent())
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
