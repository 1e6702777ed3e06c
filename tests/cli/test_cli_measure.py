"""``autotune measure`` with a real model, real audio and real processes; the engine is the public fake one."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from autotune.audio import load_profile
from autotune.cli import main
from autotune.cli.measure import tell
from autotune.deploy_yaml import DeploymentFile, read_deployment_file, write_deployment_file
from autotune.deployment import Deployment, baseline_deployment
from autotune.hardware import probe_hardware
from autotune.jobs.preparing import draw_workload
from autotune.jobs.trial_runner import TrialRunner, TrialSubject
from autotune.jobs.tune_record import TuneRecord, deployment_file
from autotune.models import resolve_model
from autotune.probe.probing import facts_of
from autotune.proof.blocks import Blocks, compare
from autotune.reporting import Silent
from autotune.serve.limits import limits_of
from autotune.serve.options import ServeOptions
from autotune.study.candidates import StudyResult
from autotune.study.goal import Goal
from tests.deployment_example import example_file
from tests.fake_engine import fake_deployment
from tests.jobs.remeasured import compared, remeasured

PROFILE = """
schema: autotune/audio-profile/v1
name: brief
description: Two short recordings, all there already.
duration_s: {distribution: uniform, low: 2, high: 4}
pause_s: {low: 0.05, high: 0.5}
noise_snr_db: {low: 25, high: 35}
speech_share: 0.8
arrival: {process: closed}
shard: {recordings: 2}
objective: throughput
slo: null
"""
FAST, SLOW = (
    fake_deployment(session_options={"speed": speed, "fault": "none"}, batch=batch)
    for speed, batch in (
        ("100x", {"max_size": 4, "max_audio_s": 60.0, "max_wait_s": 0.0}),
        ("10x", {"max_size": 1, "max_audio_s": 60.0, "max_wait_s": 0.0}),
    )
)


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> DeploymentFile:
    """As the main job would have written it: the fast one against the slow one. Two blocks would say it of a quiet
    machine alone."""
    profile = tmp_path_factory.mktemp("profile") / "brief.yaml"
    profile.write_text(PROFILE, encoding="utf-8")
    model, hardware = resolve_model("random:sensevoice-tiny"), probe_hardware()
    workload = draw_workload(load_profile(str(profile)), None, Silent(), seed=3, shards=3)
    runner = TrialRunner(TrialSubject(model, workload, hardware, None, 2), Silent())
    comparison = compare([FAST], SLOW, runner, blocks=Blocks(3), on_event=lambda _: None)
    return deployment_file(
        TuneRecord(
            goal=Goal(),
            model=model,
            workload=workload,
            hardware=hardware,
            comparison=replace(comparison, chosen=FAST),
            result=StudyResult(()),
            held_back=(),
            artifact=None,
            study="test",
            seed=3,
            command="autotune --audio-profile brief.yaml",
        )
    )


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "brief.yaml").write_text(PROFILE, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def written(document: DeploymentFile, name: str, **changes: Any) -> Path:
    """The file with dotted keys (``__`` for dots) replaced."""
    data = document.to_json()
    for dotted, value in changes.items():
        *parents, last = dotted.split("__")
        section = data
        for parent in parents:
            section = section[parent]
        section[last] = value
    Path(name).write_text(yaml.safe_dump(data), encoding="utf-8")
    return Path(name)


def interval(low: float, high: float) -> dict[str, float]:
    return {"median": (low * high) ** 0.5, "low": low, "high": high}


ANY = interval(1e-30, 1e30)


def run(*arguments: str | Path) -> int:
    with pytest.raises(SystemExit) as ended:
        main(["measure", *map(str, arguments), "--audio-profile", "brief.yaml", "--blocks", "2"])
    return int(ended.value.code or 0)


def test_as_recorded(recorded: DeploymentFile, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = written(recorded, "deploy.yaml", measurement__rtfx=ANY, baseline__rtfx=ANY, speedup=ANY)
    assert run(file) == 0
    output = capsys.readouterr()
    for words in ("recorded", "now", "RTFx (95 %)", "2 interleaved blocks", "within the intervals", "speed-up"):
        assert words in output.out
    assert "block 2/2" in output.err


def test_slower_and_beyond_its_limits_exits_3_and_json_has_the_figures(
    recorded: DeploymentFile, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Deployment and baseline have lost nine tenths, the speed-up is as it was; of two limits one is kept."""
    was = interval(1e30, 1e31)
    limits = {"goal__max_memory_bytes": 1, "goal__p95_latency_s": 600.0}
    file = written(recorded, "deploy.yaml", measurement__rtfx=was, baseline__rtfx=was, speedup=ANY, **limits)
    assert run(file, "--json") == 3
    output = capsys.readouterr()
    report = json.loads(output.out)
    assert report["slower"] is True
    assert report["same_machine"] is True
    assert report["now"]["rtfx"]["high"] < report["recorded"]["rtfx"]["low"] == 1e30
    assert report["now"]["speedup"]["median"] > 1
    assert report["now"]["cer"] is None
    assert "slower than recorded by more than the intervals" in output.err
    assert "the machine is slower" in output.err
    assert "beyond its limits: peak memory" in output.err
    assert "p95 latency" not in output.err
    assert "Traceback" not in output.err


def test_other_hardware_is_said_loudly_and_only_the_speed_up_is_judged(
    recorded: DeploymentFile, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    changes: dict[str, Any] = {"hardware__fingerprint": "0" * 12, "hardware__cpu": "Abacus 1"}
    changes |= {"measurement__rtfx": interval(1e30, 1e31), "speedup": interval(1e30, 1e31)}
    assert run(written(recorded, "deploy.yaml", **changes)) == 3
    message = capsys.readouterr().err
    for words in ("OTHER HARDWARE", "Abacus 1", "not comparable", "smaller than recorded"):
        assert words in message


def test_what_holds_on_other_hardware_is_said_on_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    tell(remeasured(example_file(), 7.8, 2.0, other=True), json_=False)
    output = capsys.readouterr()
    assert output.err == ""
    for words in ("OTHER HARDWARE", "Abacus 1", "not comparable", "only the speed-up is judged"):
        assert words in output.out


def test_several_are_compared_with_the_first(
    recorded: DeploymentFile, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = written(recorded, "slow.yaml", deployment=SLOW.model_dump(mode="json"))
    second = written(recorded, "fast.yaml")
    third = written(recorded, "broken.yaml", deployment=broken().model_dump(mode="json"))
    assert run(first, second, third, "--json") == 1
    output = capsys.readouterr()
    report = json.loads(output.out)
    assert [row["file"] for row in report["files"]] == ["slow.yaml", "fast.yaml", "broken.yaml"]
    assert [row["failed"] is None for row in report["files"]] == [True, True, False]
    assert report["files"][1]["ratio"]["median"] > 1
    assert report["files"][0]["ratio"] == {"median": 1, "low": 1, "high": 1}
    assert "broken.yaml" in output.err


def test_the_table_of_several_ends_with_what_is_faster(capsys: pytest.CaptureFixture[str]) -> None:
    tell(compared("throughput", 1.2), json_=False)
    text = capsys.readouterr().out
    assert "to the first (95 %)" in text
    assert "b.yaml is faster than a.yaml" in text


def broken() -> Deployment:
    return fake_deployment(session_options={"speed": "instant", "fault": "exit_1"})


@pytest.mark.parametrize(
    ("changes", "status", "words"),
    [
        ({"audio_profile__source": "user"}, 2, ["audio of your own", "--audio", "autotune --audio-profile brief.yaml"]),
        ({"audio_profile__sha256": "1" * 64}, 1, ["other audio", "not comparable", "--audio-profile"]),
        ({"model__sha256": "1" * 64}, 1, ["the one that was measured", "Tune again"]),
    ],
)
def test_what_can_not_be_had_again_is_said(
    changes: dict[str, Any],
    status: int,
    words: list[str],
    recorded: DeploymentFile,
    here: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(written(recorded, "deploy.yaml", **changes)) == status
    output = capsys.readouterr()
    assert output.out == ""
    for word in words:
        assert word in output.err


def test_a_profile_of_ones_own_must_be_given(
    recorded: DeploymentFile, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_deployment_file(here / "deploy.yaml", recorded)
    with pytest.raises(SystemExit) as ended:
        main(["measure", "deploy.yaml"])
    assert ended.value.code == 2
    assert "'brief', which is not built in" in capsys.readouterr().err


def test_files_that_can_not_be_compared_are_refused(
    recorded: DeploymentFile, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = written(recorded, "a.yaml")
    assert run(first, written(recorded, "b.yaml", model__sha256="1" * 64)) == 2
    assert "All files must be of one model" in capsys.readouterr().err
    assert run(first, written(recorded, "b.yaml")) == 2
    assert "hold the same" in capsys.readouterr().err
    with pytest.raises(SystemExit) as ended:
        main(["measure", "a.yaml", "--blocks", "1"])
    assert ended.value.code == 2
    assert "--blocks must be at least 2" in capsys.readouterr().err


def test_service_times_are_kept_in_the_file(
    recorded: DeploymentFile, here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"ASKING_S": 2.0, "CROWD_S": 0.3, "STREAMED_S": 2.0}.items():
        monkeypatch.setattr(f"autotune.loadgen.server_times.{name}", value)
    monkeypatch.setattr("autotune.planning.sizing.SEGMENTS", 500)
    monkeypatch.setattr("autotune.loadgen.service_times.probe_machine", lambda hardware, _: facts_of(hardware))
    path = written(recorded, "a.yaml", deployment__session_options__speed="1000x")
    before = read_deployment_file(path)
    assert run(path, "--service-times") == 0
    out = capsys.readouterr().out
    assert "Kept in a.yaml." in out
    timed = read_deployment_file(path)
    times = timed.service_times
    assert times is not None
    assert {point.size for point in times.points} == {1, 2, 3, 4}, "3 rows of 20 s are all that 60 s hold"
    assert all(f"{point.size} × {point.padded_s:g} s" in out for point in times.points)
    assert all(point.seconds >= 0.95 * point.size * point.padded_s / 1000 for point in times.points), "as it sleeps"
    assert len(times.recordings) == len(times.spoken) == recorded.audio_profile.recordings
    assert times.server is not None, "a real server was asked"
    assert 0 < times.server.front_s < 0.1
    assert times.server.stream_cores > 0
    assert times.carried is not None
    assert limits_of(ServeOptions(), timed).streams == max(1, times.carried.streams), "what plans go by"
    assert timed.probe is not None
    assert timed.probe.fingerprint == timed.hardware.fingerprint
    unchanged = timed.model_copy(update={"service_times": None, "probe": None})
    assert unchanged == before, "nothing else has changed"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hardware__fingerprint": "0" * 12}, "the machine that it was recorded on"),
        ({"deployment": baseline_deployment(ncpu=4).model_dump(mode="json")}, "AutoModel"),
    ],
)
def test_service_times_of_another_machine_or_of_automodel_are_refused(
    changes: dict[str, Any], message: str, recorded: DeploymentFile, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = written(recorded, "a.yaml", **changes)
    before = path.read_bytes()
    assert run(path, "--service-times") == 2
    assert message in capsys.readouterr().err
    assert path.read_bytes() == before


def test_service_times_are_of_one_file(
    recorded: DeploymentFile, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = [written(recorded, name) for name in ("a.yaml", "b.yaml")]
    assert run(*paths, "--service-times") == 2
    assert "one file" in capsys.readouterr().err
