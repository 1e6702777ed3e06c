"""Artifacts: exported once, checked, and never used when something went wrong on the way."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from autotune.errors import ArtifactError, ModelError, TrialCrashed
from autotune.formats import GRAPHS_OF_FORMAT, WEIGHT_TYPES, ArtifactSpec
from autotune.hardware import DOT_PRODUCTS, probe_hardware
from autotune.isolation import run_task
from autotune.models import Artifact, ModelInfo, ensure_artifact
from autotune.models.artifacts import artifact_key
from autotune.models.source import RunTask
from tests.models.models_types import FakeExport, InProcess, MakeInfo

FP32, TRACED = ArtifactSpec("onnx-fp32"), ArtifactSpec("torchscript-fp32")
INT8 = {weights: ArtifactSpec("onnx-int8", weights) for weights in WEIGHT_TYPES}
SPECS = [
    FP32,
    TRACED,
    *INT8.values(),
    *(ArtifactSpec("onnx-fp32", None, graph) for graph in GRAPHS_OF_FORMAT["onnx-fp32"][1:]),
    *(ArtifactSpec("onnx-int8", "s7", graph) for graph in GRAPHS_OF_FORMAT["onnx-int8"][1:]),
    ArtifactSpec("torchscript-fp32", None, "lean"),
    ArtifactSpec("torchscript-bf16", None, "lean"),
]


PRESET_NAMES = ("sensevoice-tiny", "paraformer-tiny", "seaco-tiny")
QUANTISED: dict[str, dict[str, tuple[str, ...]]] = {
    "u8": {"funasr": ("sensevoice-tiny", "paraformer-tiny")},
    "s8": {"funasr": ("paraformer-tiny", "seaco-tiny")},
    "s7": {
        "funasr": ("paraformer-tiny",),
        "lean": ("sensevoice-tiny", "seaco-tiny"),
        "fused": ("sensevoice-tiny", "paraformer-tiny"),
        "unmasked": ("sensevoice-tiny", "seaco-tiny"),
    },
}
"""Weights → graph → presets: the same code quantises all, so that each graph of each architecture comes once."""
CASES = [
    (spec, preset)
    for spec in SPECS
    for preset in (PRESET_NAMES if spec.weights is None else QUANTISED[spec.weights][spec.graph])
]


def has_8_bit_products() -> bool:
    """Whether this CPU multiplies 8-bit integers without saturating: VNNI, AMX, or ARM's dot product."""
    return bool(DOT_PRODUCTS & set(probe_hardware().isa))


def refuse(task: str, payload: dict[str, Any], **_: Any) -> dict[str, Any]:
    raise AssertionError(f"{task} must not run for {payload}")


def entries(cache: Path) -> list[str]:
    """Directories in the artifact cache, staging ones included."""
    root = cache / "artifacts"
    return sorted(path.name for path in root.iterdir() if path.is_dir()) if root.is_dir() else []


@pytest.mark.parametrize(("spec", "preset"), CASES, ids=lambda value: getattr(value, "label", value))
def test_every_artifact_is_exported_checked_and_cached(
    preset: str, spec: ArtifactSpec, tiny: MakeInfo, session_cache: Path
) -> None:
    heard: list[str] = []
    artifact, _ = ensure_artifact(
        tiny(preset), spec, run=InProcess(), on_event=lambda _name, data: heard.append(data["text"])
    )
    parity = artifact.parity
    assert artifact.spec == spec
    assert parity.gated == spec.format.endswith("fp32")
    assert parity.frames > 100
    if parity.gated:
        assert parity.passed
        assert parity.reference == "pytorch"
        assert parity.max_relative_error < 1e-4
        assert parity.argmax_agreement >= 0.999
    else:
        assert parity.reference == ("onnx-fp32" if spec.format == "onnx-int8" else "pytorch")
        if spec.weights == "s8" and not has_8_bit_products():
            assert parity.argmax_agreement < 0.95  # sums of signed products saturate, and the record tells
        else:
            assert 1e-4 < parity.max_relative_error < 1.0
            assert parity.argmax_agreement > 0.8
    assert "checking parity" in heard
    path = Path(artifact.path)
    assert path.stat().st_size == artifact.size_bytes
    assert path.is_relative_to(session_cache / "artifacts" / artifact.key)
    assert ensure_artifact(tiny(preset), spec, run=refuse) == (artifact, True)
    assert not any(name.startswith(".") for name in entries(session_cache))


def test_int8_is_a_quarter_of_the_matrices_and_keeps_the_output_layer(tiny: MakeInfo) -> None:
    import onnx

    model = tiny("paraformer-tiny")
    exact, _ = ensure_artifact(model, FP32, run=InProcess())
    kinds = {"u8": onnx.TensorProto.UINT8, "s8": onnx.TensorProto.INT8, "s7": onnx.TensorProto.INT8}
    for spec in INT8.values():
        kind = kinds[str(spec.weights)]
        small, _ = ensure_artifact(model, spec, run=InProcess())
        assert small.size_bytes < 0.5 * exact.size_bytes
        graph = onnx.load(small.path).graph
        matrices = [tensor for tensor in graph.initializer if tensor.data_type == kind and len(tensor.dims) == 2]
        assert len(matrices) > 20
        plain = {node.name for node in graph.node if node.op_type == "MatMul"}
        assert any("output_layer" in name for name in plain)


def test_int8_needs_no_torch(tiny: MakeInfo) -> None:
    model = tiny("paraformer-tiny")
    base, _ = ensure_artifact(model, FP32, run=InProcess())
    code = f"""
import sys, tempfile
from autotune.models.export import export_task
with tempfile.TemporaryDirectory() as out:
    payload = dict(model_path={model.path!r}, format="onnx-int8", weights="s8", graph="funasr", device="cpu", out=out)
    payload |= dict(source={str(Path(base.path).parent)!r}, fp32_share=0.0, hot_words=False, sensitivities={{}})
    export_task(payload, lambda name, data: None)
print({{"torch", "funasr"}} & set(sys.modules))
"""
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.strip().endswith("set()")
    assert {path.name for path in Path(base.path).parent.iterdir()} == {
        "artifact.json",
        "model.onnx",
        "parity-inputs.npz",
        "seal.json",
    }


def test_the_onnx_file_takes_other_shapes_than_it_was_traced_with(tiny: MakeInfo) -> None:
    import onnxruntime

    artifact, _ = ensure_artifact(tiny("sensevoice-tiny"), FP32, run=InProcess())
    session = onnxruntime.InferenceSession(artifact.path, providers=["CPUExecutionProvider"])
    assert [item.name for item in session.get_inputs()] == ["speech", "speech_lengths", "language", "textnorm"]
    assert [item.name for item in session.get_outputs()] == ["ctc_logits", "encoder_out_lens"]
    for size, frames in ((1, 1), (5, 77)):
        feed = {
            "speech": np.zeros((size, frames, 560), np.float32),
            "speech_lengths": np.full(size, frames, np.int32),
            "language": np.full(size, 3, np.int32),
            "textnorm": np.full(size, 14, np.int32),
        }
        logits, lengths = session.run(None, feed)
        assert logits.shape == (size, frames + 4, 1024)
        assert lengths.tolist() == [frames + 4] * size


@pytest.fixture
def model(copied: Path, own_cache: Path) -> ModelInfo:
    return ModelInfo(
        id="mine",
        path=str(copied),
        architecture="Paraformer",
        parameters=1,
        weights="random",
        sha256="0" * 64,
        revision=None,
    )


def damage_size(artifact: Artifact) -> None:
    os.truncate(artifact.path, 2)


def damage_content(artifact: Artifact) -> None:
    Path(artifact.path).write_bytes(b"m0del")


def damage_record(artifact: Artifact) -> None:
    record = Path(artifact.path).parent / "artifact.json"
    record.write_text(record.read_text(encoding="utf-8")[:40], encoding="utf-8")


def damage_absence(artifact: Artifact) -> None:
    Path(artifact.path).unlink()


@pytest.mark.parametrize("damage", [damage_size, damage_content, damage_record, damage_absence])
def test_a_damaged_artifact_is_never_used_but_exported_again(damage: Any, model: ModelInfo) -> None:
    export = FakeExport()
    first, cached = ensure_artifact(model, FP32, run=export)
    assert not cached
    damage(first)
    again, cached = ensure_artifact(model, FP32, run=export)
    assert not cached
    assert len(export.calls) == 2
    assert Path(again.path).read_bytes() == b"model"


def test_an_artifact_that_was_put_under_another_key_is_not_used(model: ModelInfo, own_cache: Path) -> None:
    export = FakeExport()
    first, _ = ensure_artifact(model, FP32, run=export)
    other = model.model_copy(update={"sha256": "1" * 64})
    key = artifact_key(other, FP32, "cpu")
    shutil.copytree(own_cache / "artifacts" / first.key, own_cache / "artifacts" / key)
    assert ensure_artifact(other, FP32, run=export)[1] is False


def test_a_moved_cache_still_works(model: ModelInfo, own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, _ = ensure_artifact(model, FP32, run=FakeExport())
    moved = own_cache.parent.parent / "moved"
    own_cache.parent.rename(moved)
    monkeypatch.setenv("XDG_CACHE_HOME", str(moved))
    again, cached = ensure_artifact(model, FP32, run=refuse)
    assert cached
    assert again.path == first.path.replace(str(own_cache.parent), str(moved))


def test_keys_differ_by_model_spec_and_device(model: ModelInfo) -> None:
    other = model.model_copy(update={"sha256": "1" * 64})
    keys = {
        artifact_key(model, FP32, "cpu"),
        artifact_key(other, FP32, "cpu"),
        artifact_key(model, INT8["u8"], "cpu"),
        artifact_key(model, INT8["s8"], "cpu"),
        artifact_key(model, ArtifactSpec("onnx-fp32", None, "lean"), "cpu"),
        artifact_key(model, TRACED, "cpu"),
        artifact_key(model, TRACED, "cuda:0"),
    }
    assert len(keys) == 7


def test_the_device_matters_to_torchscript_only(model: ModelInfo) -> None:
    export = FakeExport()
    assert ensure_artifact(model, FP32, device="cuda:0", run=export)[0].device == "cpu"
    assert ensure_artifact(model, FP32, run=export)[1]
    assert ensure_artifact(model, TRACED, device="cuda:0", run=export)[0].device == "cuda:0"


def test_int8_uses_the_cached_fp32_artifact(model: ModelInfo) -> None:
    export = FakeExport()
    base, _ = ensure_artifact(model, FP32, run=export)
    for spec in INT8.values():
        ensure_artifact(model, spec, run=export)
    assert [call["format"] for call in export.calls] == ["onnx-fp32", *["onnx-int8"] * 3]
    assert {call["source"] for call in export.calls[1:]} == {str(Path(base.path).parent)}


@pytest.mark.parametrize(
    "error", [ArtifactError("parity"), TrialCrashed("SIGSEGV"), ModelError("no"), OSError(28, "x")]
)
def test_nothing_is_left_of_a_failed_export(error: Exception, model: ModelInfo, own_cache: Path) -> None:
    def fail(task: str, payload: dict[str, Any], **_: Any) -> dict[str, Any]:
        (Path(payload["out"]) / "model.onnx").write_bytes(b"half")
        raise error

    expected = ModelError if isinstance(error, ModelError) else ArtifactError
    with pytest.raises(expected):
        ensure_artifact(model, FP32, run=fail)
    assert entries(own_cache) == []
    assert ensure_artifact(model, FP32, run=FakeExport())[1] is False


def test_a_failing_gate_is_an_error_with_the_figures(tiny: MakeInfo, tmp_path: Path, own_cache: Path) -> None:
    """A network that overflows: what can't be compared did not pass."""
    import torch

    folder = shutil.copytree(tiny("sensevoice-tiny").path, tmp_path / "wild")
    state = torch.load(folder / "model.pt", weights_only=True)
    state["ctc.ctc_lo.weight"].fill_(3e38)
    torch.save(state, folder / "model.pt")
    model = tiny("sensevoice-tiny").model_copy(update={"path": str(folder), "sha256": "2" * 64})
    with pytest.raises(ArtifactError, match=r"must agree with the PyTorch model.*max\|Δ\|/max\|ref\| \d.*not kept"):
        ensure_artifact(model, FP32, run=InProcess())
    assert entries(own_cache) == []


SCRIPT = """
import os, sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[3])
from tests.models.models_types import FakeExport
from autotune.formats import ArtifactSpec
from autotune.models import ModelInfo, ensure_artifact
model = ModelInfo.model_validate_json(sys.argv[1])
log = Path(sys.argv[2])
class Slow(FakeExport):
    def __call__(self, task, payload, **kwargs):
        result = super().__call__(task, payload)
        with log.open("a") as file:
            file.write(payload["out"] + "\\n")
        time.sleep(float(sys.argv[4]))
        return result
print(ensure_artifact(model, ArtifactSpec("onnx-fp32"), run=Slow())[1])
"""


def start(model: ModelInfo, log: Path, seconds: float) -> "subprocess.Popen[str]":
    arguments = [model.model_dump_json(), str(log), str(Path(__file__).parents[2]), str(seconds)]
    return subprocess.Popen([sys.executable, "-c", SCRIPT, *arguments], stdout=subprocess.PIPE, text=True)


def wait_for(path: Path) -> None:
    deadline = time.monotonic() + 30
    while not path.exists():
        assert time.monotonic() < deadline, f"{path} did not appear"
        time.sleep(0.02)


def test_two_processes_at_once_export_once(model: ModelInfo, tmp_path: Path) -> None:
    log = tmp_path / "log"
    processes = [start(model, log, 0.7) for _ in range(2)]
    said = [process.communicate(timeout=60)[0].strip() for process in processes]
    assert sorted(said) == ["False", "True"]
    assert len(log.read_text(encoding="utf-8").splitlines()) == 1


def test_kill_in_the_middle_leaves_nothing_that_is_used(model: ModelInfo, tmp_path: Path, own_cache: Path) -> None:
    log = tmp_path / "log"
    with start(model, log, 60) as process:
        wait_for(log)
        process.send_signal(signal.SIGKILL)
    abandoned = Path(log.read_text(encoding="utf-8").strip())
    assert (abandoned / "model.onnx").exists(), "the kill came while the export was there, unpublished"
    export = FakeExport()
    # Another artifact's turn sweeps it too.
    ensure_artifact(model, TRACED, run=export)
    assert not abandoned.exists()
    artifact, cached = ensure_artifact(model, FP32, run=export)
    assert not cached
    assert sorted(entries(own_cache)) == sorted([artifact.key, artifact_key(model, TRACED, "cpu")])


def test_a_staging_directory_in_use_is_not_swept(model: ModelInfo, tmp_path: Path) -> None:
    log = tmp_path / "log"
    with start(model, log, 2.0) as process:
        wait_for(log)
        ensure_artifact(model, TRACED, run=FakeExport())
        assert Path(log.read_text(encoding="utf-8").strip()).exists()
        assert process.communicate(timeout=60)[0].strip() == "False"
    assert ensure_artifact(model, FP32, run=refuse)[1]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system with room for one export of a tiny model."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"may not mount a small tmpfs: {mounted.stderr.decode().strip()}")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_too_little_disk_is_said_before_anything_starts(
    model: ModelInfo, small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(small_disk))
    (small_disk / "others").write_bytes(bytes(10 << 20))
    with pytest.raises(ArtifactError, match=r"needs \d+ MiB of free disk.*has 1\d MiB.*XDG_CACHE_HOME"):
        ensure_artifact(model, FP32, run=refuse)
    assert entries(small_disk / "autotune") == []


@pytest.mark.parametrize(
    ("spec", "run"),
    [
        (FP32, InProcess()),
        # torch.jit.save aborts its process on a full disk: it needs one of its own.
        (TRACED, run_task),
    ],
    ids=["onnx", "torchscript"],
)
def test_a_disk_that_fills_up_during_the_export(
    spec: ArtifactSpec, run: RunTask, tiny: MakeInfo, small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny("paraformer-tiny")

    def filling(task: str, payload: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        """Others take the space that was there when it was checked."""
        (small_disk / "others").write_bytes(bytes(20 << 20))
        return run(task, payload, **kwargs)

    monkeypatch.setenv("XDG_CACHE_HOME", str(small_disk))
    with pytest.raises(ArtifactError, match=r"needs more disk space: .* is full"):
        ensure_artifact(model, spec, run=filling)
    assert entries(small_disk / "autotune") == []
