from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from autotune.audio import Workload, load_profile, read_audio
from autotune.audio.embedded import embedded_clips
from autotune.audio.synthesis import mix_recording
from autotune.audio.vad import FRAME_SAMPLES, SileroVad

REFERENCE = """
import sys, numpy, torch
from silero_vad import load_silero_vad
torch.set_num_threads(1)
model, waveform = load_silero_vad(), numpy.load(sys.argv[1])
padded = numpy.zeros(-(-len(waveform) // 512) * 512, numpy.float32)
padded[: len(waveform)] = waveform
with torch.no_grad():
    frames = [model(torch.from_numpy(frame), 16000).item() for frame in padded.reshape(-1, 512)]
numpy.save(sys.argv[2], numpy.array(frames, numpy.float32))
"""


@pytest.fixture(scope="module")
def vad() -> SileroVad:
    return SileroVad()


def test_probabilities_are_those_of_sileros_own_frame_loop(
    vad: SileroVad, built: dict[str, Workload], tmp_path: Path
) -> None:
    # Longer than one block of 512 frames (16.4 s) and no whole number of frames.
    waveform = read_audio(Path(built["long"].warmup[0].path))[: 20 * 16_000 + 77]
    np.save(tmp_path / "waveform.npy", waveform)
    paths = [str(tmp_path / "waveform.npy"), str(tmp_path / "reference.npy")]
    subprocess.run([sys.executable, "-c", REFERENCE, *paths], check=True, timeout=300)
    got = vad.probabilities(waveform)
    assert got.shape == (-(-len(waveform) // FRAME_SAMPLES),)
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, np.load(tmp_path / "reference.npy"), atol=1e-4)


def test_calls_are_independent(vad: SileroVad) -> None:
    clip = embedded_clips()[20].waveform
    first = vad.probabilities(clip)
    vad.probabilities(np.zeros(5000, np.float32))
    np.testing.assert_array_equal(first, vad.probabilities(clip))


def test_speech_is_speech_and_noise_is_not(vad: SileroVad) -> None:
    noise = np.random.default_rng(0).standard_normal(48_000).astype(np.float32) * 0.05
    breathing = noise * (1 + np.sin(np.arange(48_000) / 1600).astype(np.float32))
    assert vad.speech_share(embedded_clips()[20].waveform) > 0.9
    assert vad.speech_share(noise) < 0.02
    assert vad.speech_share(breathing) < 0.02
    assert vad.speech_share(np.zeros(100, np.float32)) == 0.0


def test_an_empty_waveform_has_no_share(vad: SileroVad) -> None:
    assert len(vad.probabilities(np.zeros(0, np.float32))) == 0
    with pytest.raises(ValueError, match="empty waveform"):
        vad.speech_share(np.zeros(0, np.float32))


@pytest.mark.parametrize("name", ["short", "long", "mixed", "streaming"])
def test_the_declared_speech_share_is_true(vad: SileroVad, built: dict[str, Workload], name: str) -> None:
    declared = load_profile(name).speech_share
    for shard in built[name].shards:
        shares = [vad.speech_share(read_audio(Path(one.path))) for one in shard.recordings]
        share = float(np.average(shares, weights=[one.audio_s for one in shard.recordings]))
        assert share == pytest.approx(declared, abs=0.05)
        assert min(shares) > declared - 0.2
    assert built[name].speech_share == declared


@pytest.mark.parametrize("share", [0.3, 0.5, 0.9])
def test_other_speech_shares_are_true_too(vad: SileroVad, share: float) -> None:
    profile = load_profile("long").model_copy(update={"speech_share": share})
    samples = mix_recording(profile, 90.0, np.random.default_rng(3)).samples
    assert vad.speech_share((samples / 32768).astype(np.float32)) == pytest.approx(share, abs=0.05)


def test_the_vad_loads_no_torch_and_the_package_no_runtime() -> None:
    code = """
import json, sys
import autotune.audio, autotune.audio.vad
heavy = {"torch", "funasr", "onnxruntime", "silero_vad"}
before = sorted(heavy & set(sys.modules))
autotune.audio.vad.SileroVad()
print(json.dumps([before, sorted(heavy & set(sys.modules))]))
"""
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=120)
    assert json.loads(done.stdout.splitlines()[-1]) == [[], ["onnxruntime"]]
