"""The whole path on real models: the same text as FunASR's AutoModel on the same audio, whatever the batching."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from autotune.audio import read_audio
from autotune.deployment import Batch, Chunking, Deployment
from autotune.errors import AudioError
from autotune.model_directory import ModelDirectory
from autotune.models import ModelInfo, ensure_artifact, resolve_model
from autotune.models.presets import write_random_model
from autotune.recognizer import Recognizer
from autotune.recognizer.intake import AudioInput
from tests.funasr_child import ask_funasr
from tests.models.models_types import InProcess
from tests.seaco_example import SEACO

ROOT = Path(__file__).parents[2]
CLIPS = sorted((ROOT / "autotune" / "audio" / "clips").glob("*.ogg"))[:12]
PRESETS = ["sensevoice-tiny", "paraformer-tiny"]

AUTOMODEL = """
result = {}
for preset, path in request["models"].items():
    model = auto_model(path)
    answers = [model.generate(input=samples(clip), batch_size_s=300) for clip in request["clips"]]
    result[preset] = [answer[0]["text"] if answer else "" for answer in answers]
"""


def deployment(**changes: Any) -> Deployment:
    fields: dict[str, Any] = {
        "format": "onnx-fp32",
        "weights": None,
        "graph": "funasr",
        "engine": "onnxruntime",
        "device": "cpu",
        "instances": 1,
        "intra_op_num_threads": 1,
        "inter_op_num_threads": 1,
        "session_options": {
            "graph_optimization_level": "all",
            "execution_mode": "sequential",
            "allow_spinning": False,
            "dynamic_block_base": "0",
            "denormal_as_zero": False,
            "cpu_mem_arena": True,
            "mapped_weights": False,
        },
        "provider_options": {},
        "batch": Batch(max_size=4, max_audio_s=60, max_wait_s=0),
        "chunking": Chunking(method="none", window_s=None),
        "language": "auto",
        "text_norm": "woitn",
    }
    return Deployment(**{**fields, **changes})


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, ModelInfo]:
    seaco = tmp_path_factory.mktemp("models") / "seaco"
    write_random_model(SEACO, 0, seaco)
    made = {preset: resolve_model(f"random:{preset}", run=InProcess()) for preset in PRESETS}
    return {**made, "seaco-tiny": resolve_model(str(seaco), run=InProcess())}


@pytest.fixture(scope="session")
def automodel_texts(models: dict[str, ModelInfo]) -> dict[str, list[str]]:
    return automodel({preset: info.path for preset, info in models.items()})


def automodel(models: dict[str, str], clips: Sequence[Path] = CLIPS) -> dict[str, list[str]]:
    """FunASR's text of each clip, by the name of each model directory."""
    texts: dict[str, list[str]] = ask_funasr(AUTOMODEL, {"models": models, "clips": [str(clip) for clip in clips]})
    return texts


def recognizer(info: ModelInfo, wanted: Deployment) -> Recognizer:
    assert wanted.artifact is not None
    artifact, _ = ensure_artifact(info, wanted.artifact, run=InProcess())
    return Recognizer.load(wanted, ModelDirectory.open(Path(info.path)), Path(artifact.path))


@pytest.mark.parametrize("preset", PRESETS)
def test_text_equals_automodels(
    preset: str, models: dict[str, ModelInfo], automodel_texts: dict[str, list[str]]
) -> None:
    with recognizer(models[preset], deployment()) as ours:
        results = ours.transcribe([read_audio(clip) for clip in CLIPS])
    assert [result.segments[0].raw for result in results] == automodel_texts[preset]
    assert len(set(automodel_texts[preset])) > 3  # random weights, but not the same text for everything


def test_text_of_seaco_equals_automodels_without_hot_words(
    models: dict[str, ModelInfo], automodel_texts: dict[str, list[str]]
) -> None:
    check_but_for_spaces(models["seaco-tiny"], automodel_texts["seaco-tiny"])


def test_text_of_the_published_seaco_equals_automodels(tmp_path: Path) -> None:
    """The published files with two blocks of each kind, of random weights."""
    folders = [up / "shared" / "real-models" for up in ROOT.parents]
    build = next((folder / "build.py" for folder in folders if folder.is_dir()), None)
    if build is None:
        pytest.skip("shared/real-models, the files of published models, is not beside the project")
    path = str(tmp_path / "seaco")
    subprocess.run([sys.executable, build, "paraformer-zh-seaco", path, "2", "2"], capture_output=True, check=True)
    check_but_for_spaces(resolve_model(path, run=InProcess()), automodel({"published": path})["published"])


def check_but_for_spaces(info: ModelInfo, expected: list[str]) -> None:
    """FunASR puts spaces between characters where it gives their times as well."""
    with recognizer(info, deployment()) as ours:
        results = ours.transcribe([read_audio(clip) for clip in CLIPS])
    texts = [result.segments[0].raw for result in results]
    assert [text.replace(" ", "") for text in texts] == [text.replace(" ", "") for text in expected]
    assert len(set(expected)) > 3  # random weights, but not the same text for everything


@pytest.mark.parametrize("preset", PRESETS)
def test_batches_instances_and_windows_change_nothing_but_speed(preset: str, models: dict[str, ModelInfo]) -> None:
    long = np.concatenate([read_audio(clip) for clip in CLIPS])
    audio: list[AudioInput] = [long, long[: 16000 * 7], CLIPS[0], str(CLIPS[1])]
    window = Chunking(method="fixed", window_s=5)
    with recognizer(
        models[preset], deployment(batch=Batch(max_size=1, max_audio_s=5, max_wait_s=0), chunking=window)
    ) as one:
        expected = one.transcribe(audio)
    with recognizer(models[preset], deployment(instances=2, chunking=window)) as many:
        got = many.transcribe(audio)
        submitted = [future.result(timeout=60) for future in [many.submit(item) for item in audio]]
        stats = many.stats()
    assert got == expected
    assert submitted == expected
    assert stats.batches > 0
    assert stats.padded_s >= stats.audio_s > 0
    assert all(stats.stages_s[stage] > 0 for stage in ("read", "features", "engine", "decode"))
    assert stats.busy_s > 0


OPENVINO = {"inference_precision": "f32", "hyper_threading": True, "model_cache": False}


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="two instances need two CPUs of their own")
@pytest.mark.parametrize(
    ("preset", "changes"),
    [
        (PRESETS[0], {"graph": "lean", "batch": Batch(max_size=4, max_audio_s=60, max_wait_s=0, pad_to_s=1)}),
        (PRESETS[0], {"graph": "lean", "engine": "openvino", "session_options": OPENVINO}),
        (PRESETS[1], {"graph": "fused"}),
        (PRESETS[1], {"graph": "unmasked"}),
    ],
    ids=["lean padded", "openvino", "fused", "unmasked"],
)
def test_lean_graphs_give_the_same_text_on_cpus_of_their_own(
    preset: str, changes: dict[str, Any], models: dict[str, ModelInfo]
) -> None:
    if changes.get("engine") == "openvino":
        pytest.importorskip("openvino", reason="OpenVINO is not installed")
    audio: list[AudioInput] = list(CLIPS[:12])
    with recognizer(models[preset], deployment()) as plain:
        expected = plain.transcribe(audio)
    before = os.sched_getaffinity(0)
    with recognizer(models[preset], deployment(instances=2, pinning=True, **changes)) as lean:
        assert lean.transcribe(audio) == expected
    assert os.sched_getaffinity(0) == before


def test_segments_cover_the_recording_in_order(models: dict[str, ModelInfo]) -> None:
    samples = np.concatenate([read_audio(clip) for clip in CLIPS[:5]])
    with recognizer(models["sensevoice-tiny"], deployment(chunking=Chunking(method="fixed", window_s=4))) as ours:
        result = ours.transcribe([samples])[0]
    assert result.audio_s == pytest.approx(len(samples) / 16000)
    assert result.segments[0].start_s == 0
    assert result.segments[-1].end_s == pytest.approx(result.audio_s)
    for left, right in zip(result.segments, result.segments[1:], strict=False):
        assert left.end_s == pytest.approx(right.start_s)


@pytest.mark.parametrize("preset", PRESETS)
def test_silence_slivers_and_nothing_are_no_error(preset: str, models: dict[str, ModelInfo]) -> None:
    with recognizer(models[preset], deployment()) as ours:
        audio = [np.zeros(size, np.float32) for size in (0, 1, 399, 400, 16000)]
        results = ours.transcribe(audio)
        assert ours.transcribe([]) == []
    assert results[0].text == ""
    assert results[0].segments == ()
    assert [len(result.segments) for result in results] == [0, 1, 1, 1, 1]


def test_what_is_no_audio_is_named(models: dict[str, ModelInfo], tmp_path: Path) -> None:
    (tmp_path / "notes.wav").write_text("not audio", encoding="utf-8")
    with recognizer(models["sensevoice-tiny"], deployment()) as ours:
        with pytest.raises(AudioError, match=r"notes\.wav"):
            ours.transcribe([CLIPS[0], tmp_path / "notes.wav"])
        with pytest.raises(AudioError, match="float32 samples"):
            ours.transcribe([np.zeros(100)])  # type: ignore[list-item]
        assert ours.transcribe([CLIPS[0]])[0].segments  # it goes on


def test_a_closed_recognizer_refuses_audio(models: dict[str, ModelInfo]) -> None:
    ours = recognizer(models["sensevoice-tiny"], deployment())
    ours.close()
    ours.close()
    with pytest.raises(RuntimeError, match="closed"):
        ours.transcribe([CLIPS[0]])
