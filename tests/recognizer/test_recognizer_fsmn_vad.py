"""FSMN-VAD from a directory of FunASR's own class, with random weights: the same segments as FunASR gives."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from autotune.arrays import Float32
from autotune.deployment import Chunking
from autotune.errors import ModelError
from autotune.recognizer.chunking import Chunkers
from autotune.recognizer.fsmn_vad import FsmnVad
from benchmarks.fsmn_config import fsmn_config
from tests.funasr_child import ask_funasr

CONFIG = fsmn_config(input_affine_dim=16, fsmn_layers=2, linear_dim=24, proj_dim=12, output_affine_dim=16, output_dim=2)

MAKE = """
import warnings
warnings.simplefilter("ignore")
import numpy as np, torch, yaml
from pathlib import Path
from funasr.models.fsmn_vad_streaming.model import FsmnVADStreaming
from autotune.model_directory import FrontendConfig
from autotune.recognizer.frontend import fbank, stack_frames
folder, samples = Path(request[0]), np.load(request[1])
config = yaml.safe_load((folder / "config.yaml").read_text())
torch.manual_seed(3)
model = FsmnVADStreaming(encoder="FSMN", encoder_conf=config["encoder_conf"], **config["model_conf"])
# Random layers; the last one is fitted to loudness, since random weights alone call everything the same.
frames = fbank(samples, FrontendConfig(16000, "hamming", 80, 25, 10, 1, 1, None))
hidden = []
model.encoder.out_linear1.register_forward_hook(lambda module, inputs, output: hidden.append(output[0].numpy()))
with torch.no_grad():
    model.encoder(torch.from_numpy(stack_frames(frames, 5, 1))[None], cache={})
    loudness = frames.mean(axis=1)
    inputs = np.concatenate([hidden[0], np.ones((len(frames), 1), np.float32)], axis=1)
    weights = np.linalg.lstsq(inputs, 3 * (loudness - loudness.mean()) / loudness.std(), rcond=None)[0]
    last = model.encoder.out_linear2.linear
    last.weight[0], last.weight[1] = 0.0, torch.from_numpy(weights[:-1])
    last.bias[0], last.bias[1] = 0.0, float(weights[-1])
torch.save(model.state_dict(), folder / "model.pt")
"""

RUN = """
from autotune.deployment import Chunking
from autotune.recognizer.chunking import Chunkers
chunking = Chunking(method="vad", vad_model=request[0], max_segment_s=5, merge_s=0, min_silence_s=0.8, pad_s=0)
chunkers = Chunkers(chunking)

def cut(count, sizes):
    chunker, pieces, at = chunkers.new(None), [], 0
    for size in sizes:
        pieces += chunker.push(samples[at : min(at + size, count)])
        at += size
    pieces += chunker.push(samples[min(at, count) : count]) + chunker.finish()
    assert all(np.array_equal(piece.samples, samples[piece.start : piece.stop]) for piece in pieces)
    return [(piece.start, piece.stop) for piece in pieces]

counts = [0, 1, 399, 400, 16000, 16001, 32000, 40123, len(samples)]
ours = [[cut(count, sizes) for sizes in ([], [4000] * 200, [100] * 3 + [77777])] for count in counts]
from autotune.engines.funasr import quiet
with quiet():
    theirs_model = auto_model(request[0])
theirs = []
for count in counts:
    value = []
    if count >= 400:
        with quiet():
            result = theirs_model.generate(input=samples[:count], is_final=True, max_end_silence_time=800)
        value = result[0]["value"]
    theirs.append(value)
result = [counts, ours, theirs]
"""


@pytest.fixture(scope="module")
def made(speech: Float32, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """The model's directory, and what it and FunASR's AutoModel find in speech."""
    folder = tmp_path_factory.mktemp("vad")
    (folder / "config.yaml").write_text(CONFIG, encoding="utf-8")
    np.save(folder / "speech.npy", speech)
    return folder, ask_funasr(MAKE + RUN, [str(folder), str(folder / "speech.npy")])


@pytest.mark.slow
def test_segments_are_funasrs_own_however_they_are_pushed(made: tuple[Path, Any]) -> None:
    counts, ours, theirs = made[1]
    assert any(ours[-1])
    for count, ways, expected in zip(counts, ours, theirs, strict=True):
        assert ways[0] == ways[1] == ways[2]
        covered = np.zeros(count, int)
        for start, stop in ways[0]:
            assert 0 < stop - start <= 5 * 16000
            covered[start:stop] += 1
        assert covered.max(initial=0) <= 1
        wanted = np.zeros(count, int)
        for begin_ms, end_ms in expected:
            wanted[begin_ms * 16 : end_ms * 16] = 1
        # FunASR's last segment ends with its last whole frame, ours with the recording.
        assert np.sum(covered != wanted) <= max(0.02 * count, 800)


@pytest.mark.slow
def test_code_and_models_that_a_config_names_are_not_loaded(made: tuple[Path, Any], tmp_path: Path) -> None:
    """AutoModel itself is not even imported: it takes any key of a configuration as an argument."""
    folder, code, trace = tmp_path / "vad", tmp_path / "evil.py", tmp_path / "trace"
    shutil.copytree(made[0], folder)
    code.write_text(f"open({str(trace)!r}, 'w')\n", encoding="utf-8")
    runs = {"trust_remote_code": True, "remote_code": str(code)}
    more = {f"{kind}_model": str(folder) for kind in ("vad", "punc", "spk")}
    keys = {**runs, **more, **{name.replace("_model", "_kwargs"): runs for name in more}}
    lines = "".join(f"{key}: {json.dumps(value)}\n" for key, value in keys.items())
    (folder / "config.yaml").write_text(CONFIG + lines, encoding="utf-8")
    load = """
import sys
from pathlib import Path
from autotune.recognizer.fsmn_vad import FsmnVad
FsmnVad(Path(sys.argv[1]), min_silence_s=0.5)
print(*sorted(sys.modules))
"""
    done = subprocess.run([sys.executable, "-c", load, str(folder)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert not trace.exists()
    assert "autotune.recognizer.fsmn_vad" in done.stdout
    assert "funasr.auto.auto_model" not in done.stdout
    # FunASR would read another file than the one that is checked.
    (folder / "other.yaml").write_text("model: QwenAudio\n", encoding="utf-8")
    (folder / "configuration.json").write_text('{"file_path_metas": {"config": "other.yaml"}}', encoding="utf-8")
    with pytest.raises(ModelError, match=r"must name config\.yaml as the config, but names 'other\.yaml'"):
        FsmnVad(folder, min_silence_s=0.5)


def wrong(folder: Path) -> dict[str, str]:
    (folder / "file").write_text("", encoding="utf-8")
    (folder / "empty").mkdir()
    configs = {
        "asr": "model: SenseVoiceSmall",
        "whisper": CONFIG.replace("encoder: FSMN", "encoder: OpenAIWhisperEncoderWarp"),
        "list": "- 1",
        "damaged": "a: [",
        "bare": CONFIG,
    }
    for name, content in configs.items():
        (folder / name).mkdir()
        (folder / name / "config.yaml").write_text(content, encoding="utf-8")
    return {
        "absent": "must be a directory",
        "file": "must be a directory",
        "empty": "must hold config.yaml",
        "asr": "must be FsmnVADStreaming, but .* says 'SenseVoiceSmall'",
        "whisper": "encoder must be FSMN, but .* says 'OpenAIWhisperEncoderWarp'",
        "list": "says None",
        "damaged": "must be YAML",
        "bare": "must hold model.pt",
    }


def test_what_is_no_vad_is_named(tmp_path: Path) -> None:
    for name, message in wrong(tmp_path).items():
        path = str(tmp_path / name)
        chunking = Chunking(method="vad", vad_model=path, max_segment_s=5, merge_s=0, min_silence_s=0.5, pad_s=0)
        with pytest.raises(ModelError, match=message) as caught:
            Chunkers(chunking)
        assert name in str(caught.value)
