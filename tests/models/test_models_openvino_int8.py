"""openvino-int8: calibrated on given audio, named by it, checked in OpenVINO, and found again by deploy.yaml."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from autotune import load
from autotune.audio import Recording, Shard, Workload
from autotune.deploy_yaml import ArtifactRecord, write_deployment_file
from autotune.deployment import Batch, Chunking, Deployment
from autotune.errors import ArtifactError, EngineUnavailableError
from autotune.formats import ArtifactSpec
from autotune.hardware import probe_hardware
from autotune.jobs.trial_runner import TrialRunner, TrialSubject
from autotune.models import Artifact, Calibration, ModelInfo, ensure_artifact, resolve_model, workload_calibration
from autotune.models.calibration import embedded_calibration
from autotune.models.static_int8 import check_token_counts
from autotune.reporting import Silent
from tests.deployment_example import example_file
from tests.models.models_types import FakeExport, InProcess, MakeInfo

pytest.importorskip("openvino", reason="OpenVINO is not installed")
pytest.importorskip("nncf", reason="NNCF is not installed")

LEAN = ArtifactSpec("openvino-int8", None, "lean")
CLIPS = Path(__file__).parents[2] / "autotune" / "audio" / "clips"


def refuse(task: str, payload: dict[str, Any], **_: Any) -> dict[str, Any]:
    raise AssertionError(f"{task} must not run for {payload}")


def workload(paths: list[Path]) -> Workload:
    recordings = tuple(
        Recording(id=path.stem, path=str(path), audio_s=soundfile.info(path).duration, arrival_s=0.0, text=None)
        for path in paths
    )
    shard = Shard(index=0, recordings=recordings, audio_s=sum(one.audio_s for one in recordings))
    return Workload(
        profile="mine",
        seed=0,
        arrival="closed",
        shards=(shard,),
        warmup=recordings[:1],
        source="user",
        sha256="0" * 64,
        speech_share=None,
    )


@pytest.fixture(scope="module")
def heard(session_cache: Path) -> Workload:
    return workload(sorted(CLIPS.glob("clip-*.ogg"))[:6])


@pytest.fixture(scope="module")
def exported(tiny: MakeInfo, heard: Workload) -> Callable[[str], Artifact]:
    def export(preset: str) -> Artifact:
        return ensure_artifact(tiny(preset), LEAN, calibration=workload_calibration(heard), run=InProcess())[0]

    return export


@pytest.mark.parametrize("preset", ["sensevoice-tiny", "paraformer-tiny", "seaco-tiny"])
def test_it_runs_on_every_shape_and_says_what_it_was_calibrated_on(
    preset: str, exported: Callable[[str], Artifact], tiny: MakeInfo, heard: Workload
) -> None:
    artifact = exported(preset)
    assert artifact.spec == LEAN
    assert artifact.parity.reference == "onnx-fp32"
    assert not artifact.parity.gated
    assert 1e-4 < artifact.parity.max_relative_error < 1.0
    assert artifact.parity.argmax_agreement > 0.75  # random weights have no margins between tokens
    assert artifact.calibration == workload_calibration(heard)
    assert artifact.calibration.source == "workload"
    base, _ = ensure_artifact(tiny(preset), ArtifactSpec("onnx-fp32", None, "lean"), run=refuse)
    assert artifact.size_bytes < 0.6 * base.size_bytes
    again = ensure_artifact(tiny(preset), LEAN, calibration=workload_calibration(heard), run=refuse)
    assert again == (artifact, True)


def test_a_trained_model_keeps_its_tokens(heard: Workload) -> None:
    model = resolve_model(None, run=InProcess())
    artifact, _ = ensure_artifact(model, LEAN, calibration=workload_calibration(heard), run=InProcess())
    assert artifact.parity.argmax_agreement >= 0.9
    assert artifact.parity.lengths_agree


def test_only_products_with_weights_are_quantised(exported: Callable[[str], Artifact]) -> None:
    import onnx

    graph = onnx.load(exported("paraformer-tiny").path).graph
    dequantised = {output for node in graph.node if node.op_type == "DequantizeLinear" for output in node.output}
    fed = [node for node in graph.node if dequantised & set(node.input)]
    assert {node.op_type for node in fed} == {"MatMul"}
    assert not [node.name for node in fed if "output" in node.name]
    assert len(fed) == 23
    assert all(set(node.input) <= dequantised for node in fed)


def test_other_audio_is_another_artifact(tiny: MakeInfo, heard: Workload, own_cache: Path) -> None:
    model, export = tiny("sensevoice-tiny"), FakeExport()
    first, _ = ensure_artifact(model, LEAN, calibration=workload_calibration(heard), run=export)
    second, _ = ensure_artifact(model, LEAN, run=export)
    assert second.calibration == embedded_calibration()
    assert second.calibration.source == "embedded"
    assert 60 <= second.calibration.audio_s <= 120
    assert first.key != second.key
    assert [call["format"] for call in export.calls] == ["onnx-fp32", "openvino-int8", "openvino-int8"]
    for call, artifact in zip(export.calls[1:], (first, second), strict=True):
        assert artifact.calibration is not None
        assert call["calibration"] == str(artifact.calibration.path)
    assert ensure_artifact(model, LEAN, calibration=first.calibration, run=refuse) == (first, True)


def test_calibration_is_bounded_and_the_same_each_time(session_cache: Path, tmp_path: Path) -> None:
    noise = np.random.default_rng(1).uniform(-0.5, 0.5, 16000 * 400).astype(np.float32)
    soundfile.write(tmp_path / "long.wav", noise, 16000)
    soundfile.write(tmp_path / "short.wav", noise[:800], 16000)
    given = workload([tmp_path / "long.wav", tmp_path / "short.wav"])
    calibration = workload_calibration(given)
    assert calibration == workload_calibration(given)
    segments = Calibration.waveforms(calibration.require())
    lengths = [len(segment) / 16000 for segment in segments]
    assert 90 <= sum(lengths) <= 105
    assert sum(lengths) == pytest.approx(calibration.audio_s)
    assert len(lengths) == calibration.segments
    assert len({round(length) for length in lengths}) > 4
    assert max(lengths) <= 15
    assert all(np.abs(segment).max() <= 1 for segment in segments)
    assert workload_calibration(workload([tmp_path / "short.wav"])).audio_s == pytest.approx(0.05)


@pytest.mark.parametrize("damaged", ["artifact", "calibration"])
def test_damage_is_noticed(damaged: str, tiny: MakeInfo, heard: Workload, own_cache: Path) -> None:
    model, export = tiny("sensevoice-tiny"), FakeExport()
    calibration = workload_calibration(heard)
    artifact, _ = ensure_artifact(model, LEAN, calibration=calibration, run=export)
    Path(artifact.path).write_bytes(b"m0del")
    if damaged == "calibration":
        calibration.path.write_bytes(calibration.path.read_bytes()[:-1000])
        with pytest.raises(ArtifactError, match="must be calibrated on the audio that was measured"):
            ensure_artifact(model, LEAN, calibration=calibration, run=export)
        return
    again, cached = ensure_artifact(model, LEAN, calibration=calibration, run=export)
    assert not cached
    assert again.key == artifact.key
    assert Path(again.path).read_bytes() == b"model"


@pytest.mark.parametrize(
    ("counts", "exact", "fine"),
    [([24, 7], True, True), ([24, 8], True, False), ([25, 8], False, True), ([30, 7], False, False)],
)
def test_lengths_must_agree(counts: list[int], exact: bool, fine: bool) -> None:
    if fine:
        check_token_counts(counts, [24, 7], exact=exact)
        return
    with pytest.raises(ArtifactError, match=r"as many tokens as onnx-fp32, but got \d+ instead of \d+"):
        check_token_counts(counts, [24, 7], exact=exact)


def deployment() -> Deployment:
    return Deployment(
        format="openvino-int8",
        weights=None,
        graph="lean",
        engine="openvino",
        device="cpu",
        instances=1,
        intra_op_num_threads=1,
        inter_op_num_threads=1,
        session_options={"inference_precision": "f32", "hyper_threading": True, "model_cache": False},
        provider_options={},
        batch=Batch(max_size=4, max_audio_s=60, max_wait_s=0),
        chunking=Chunking(method="none"),
        language="auto",
        text_norm="woitn",
    )


def test_a_trial_is_calibrated_on_what_it_hears(
    tiny: MakeInfo, heard: Workload, exported: Callable[[str], Artifact]
) -> None:
    artifact = exported("sensevoice-tiny")
    runner = TrialRunner(TrialSubject(tiny("sensevoice-tiny"), heard, probe_hardware(), None), Silent())
    assert runner.artifact_of(deployment()) == artifact


def deploy_yaml(folder: Path, model: ModelInfo, artifact: Artifact) -> Path:
    record = ArtifactRecord(
        format=artifact.format,
        key=artifact.key,
        size_bytes=artifact.size_bytes,
        parity=artifact.parity,
        calibration=artifact.calibration,
    )
    changes = {"model": model, "deployment": deployment(), "artifact": record}
    write_deployment_file(folder / "deploy.yaml", example_file().model_copy(update=changes))
    return folder / "deploy.yaml"


def test_deploy_yaml_loads_the_artifact_that_was_measured(
    tiny: MakeInfo,
    exported: Callable[[str], Artifact],
    session_cache: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    artifact = exported("sensevoice-tiny")
    path = deploy_yaml(tmp_path, tiny("sensevoice-tiny"), artifact)
    with load(path) as recognizer:
        assert len(recognizer.transcribe([np.zeros(16000, np.float32)])) == 1
    # Elsewhere, without the artifact and the audio, nothing else is made in its place.
    shutil.copytree(session_cache, tmp_path / "elsewhere" / "autotune")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "elsewhere"))
    shutil.rmtree(tmp_path / "elsewhere" / "autotune" / "artifacts" / artifact.key)
    assert artifact.calibration is not None
    artifact.calibration.path.unlink()
    with pytest.raises(ArtifactError, match=r"calibrated on the audio that was measured.*Copy that file"):
        load(path)


BLOCKED = """
import sys
from autotune.errors import EngineUnavailableError
from autotune.models.static_int8 import check_tools
sys.modules["nncf"] = None
try:
    check_tools()
except EngineUnavailableError as error:
    print("UNAVAILABLE", error)
"""


def test_what_is_missing_is_named() -> None:
    done = subprocess.run([sys.executable, "-c", BLOCKED], capture_output=True, text=True, check=False)
    assert "UNAVAILABLE" in done.stdout, done.stderr
    assert "pip install nncf" in done.stdout
    assert issubclass(EngineUnavailableError, ImportError)
