"""The front end against kaldi-native-fbank and FunASR's own WavFrontend."""

from pathlib import Path

import kaldi_native_fbank as knf
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autotune.audio import read_audio
from autotune.errors import ModelError
from autotune.model_directory import FrontendConfig
from autotune.recognizer.frontend import Frontend, fbank, padded, read_cmvn, stack_frames
from tests.funasr_child import ask_funasr

CLIPS = sorted((Path(__file__).parents[2] / "autotune" / "audio" / "clips").glob("*.ogg"))


def config(cmvn: Path | None = None) -> FrontendConfig:
    return FrontendConfig(
        sample_rate_hz=16000,
        window="hamming",
        n_mels=80,
        frame_length_ms=25,
        frame_shift_ms=10,
        lfr_m=7,
        lfr_n=6,
        cmvn_path=cmvn,
    )


def kaldi(waveform: np.ndarray) -> np.ndarray:
    options = knf.FbankOptions()
    options.frame_opts.samp_freq = 16000
    options.frame_opts.dither = 0
    options.frame_opts.window_type = "hamming"
    options.frame_opts.snip_edges = True
    options.mel_opts.num_bins = 80
    options.energy_floor = 0
    extractor = knf.OnlineFbank(options)
    extractor.accept_waveform(16000, waveform * 32768)
    extractor.input_finished()
    return np.stack([extractor.get_frame(index) for index in range(extractor.num_frames_ready)])


@pytest.mark.parametrize("noise", [0.0, 0.003])
def test_fbank_equals_kaldis(noise: float) -> None:
    speech = np.concatenate([read_audio(clip) for clip in CLIPS[:4]])
    speech = speech + np.random.default_rng(0).normal(0, noise, len(speech)).astype(np.float32)
    ours, theirs = fbank(speech, config()), kaldi(speech)
    assert ours.shape == theirs.shape
    # In the log domain before CMVN (which scales by ~0.2): bins at the rounding floor differ a little more.
    assert np.quantile(np.abs(ours - theirs), 0.9999) < 1e-3
    assert np.abs(ours - theirs).max() < 5e-3


def test_silence_and_tones_stay_finite() -> None:
    tone = np.sin(np.arange(16000) * 0.3).astype(np.float32)
    for waveform in (np.zeros(16000, np.float32), tone, np.ones(16000, np.float32), np.zeros(1, np.float32)):
        features = Frontend(config()).features(waveform)
        assert np.isfinite(features).all()
        assert features.shape[1] == 560


@given(st.integers(1, 60), st.sampled_from([(7, 6), (5, 3), (1, 1), (4, 1)]))
def test_stacking_equals_a_plain_loop(count: int, lfr: tuple[int, int]) -> None:
    lfr_m, lfr_n = lfr
    frames = np.arange(count * 2, dtype=np.float32).reshape(count, 2)
    padded = [frames[0]] * ((lfr_m - 1) // 2) + list(frames) + [frames[-1]] * (lfr_m * 2)
    expected = [np.concatenate(padded[i * lfr_n : i * lfr_n + lfr_m]) for i in range(-(-count // lfr_n))]
    np.testing.assert_array_equal(stack_frames(frames, lfr_m, lfr_n), np.stack(expected))


def test_a_batch_is_the_padded_rows() -> None:
    frontend = Frontend(config())
    rng = np.random.default_rng(1)
    waveforms = [rng.normal(0, 0.1, size).astype(np.float32) for size in (8000, 16000, 400)]
    features, lengths = padded([frontend.features(waveform) for waveform in waveforms])
    assert features.dtype == np.float32
    assert lengths.dtype == np.int32
    assert features.shape == (3, lengths.max(), 560)
    for row, length, waveform in zip(features, lengths, waveforms, strict=True):
        np.testing.assert_array_equal(row[:length], frontend.features(waveform))
        assert not row[length:].any()


def write_cmvn(path: Path, size: int = 560) -> Path:
    shift, scale = " ".join(["-9.5"] * size), " ".join(["0.2"] * size)
    path.write_text(
        f"<Nnet>\n<Splice> {size} {size}\n[ 0 ]\n<AddShift> {size} {size}\n<LearnRateCoef> 0 [ {shift} ]\n"
        f"<Rescale> {size} {size}\n<LearnRateCoef> 0 [ {scale} ]\n</Nnet>\n",
        encoding="utf-8",
    )
    return path


def test_cmvn_is_read_and_checked(tmp_path: Path) -> None:
    shift, scale = read_cmvn(write_cmvn(tmp_path / "am.mvn"), 560)
    assert shift[0] == np.float32(-9.5)
    assert scale[-1] == np.float32(0.2)
    with pytest.raises(ModelError, match="must hold 560 values"):
        read_cmvn(write_cmvn(tmp_path / "short.mvn", 80), 560)
    bad = tmp_path / "bad.mvn"
    bad.write_text("<AddShift> 1 1\n<LearnRateCoef> 0 [ x ]\n", encoding="utf-8")
    with pytest.raises(ModelError, match="must hold numbers"):
        read_cmvn(bad, 1)


def test_features_equal_funasrs_wav_frontend(tmp_path: Path) -> None:
    cmvn = write_cmvn(tmp_path / "am.mvn")
    out = tmp_path / "theirs.npz"
    code = f"""
import numpy as np, torch
from funasr.frontends.wav_frontend import WavFrontend
from autotune.audio import read_audio
frontend = WavFrontend(cmvn_file={str(cmvn)!r}, fs=16000, window="hamming", n_mels=80, frame_length=25,
                       frame_shift=10, lfr_m=7, lfr_n=6, dither=0.0)
rows = {{}}
for index, path in enumerate(request):
    wave = torch.from_numpy(read_audio(__import__("pathlib").Path(path)))
    features, lengths = frontend(wave[None], torch.tensor([len(wave)]))
    rows[str(index)] = features[0].numpy()
np.savez({str(out)!r}, **rows)
result = None
"""
    ask_funasr(code, [str(clip) for clip in CLIPS[:6]], automodel=False)
    theirs = np.load(out)
    frontend = Frontend(config(cmvn))
    for index, clip in enumerate(CLIPS[:6]):
        ours = frontend.features(read_audio(clip))
        assert ours.shape == theirs[str(index)].shape
        assert np.abs(ours - theirs[str(index)]).max() <= 1e-3
