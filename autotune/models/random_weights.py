"""Random weights that behave: varied output over frames, and Paraformer's token rate of real speech.

Child processes only: everything here loads torch and funasr.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from autotune.model_directory import ModelDirectory

if TYPE_CHECKING:
    import torch

    from autotune.engines.base import Float32

__all__ = ["TOKENS_PER_S", "random_state", "speech_like"]

TOKENS_PER_S = 4.4
"""Tokens in a second of Mandarin speech: what the CIF predictor of a random Paraformer is calibrated to."""

_CALIBRATION_S = 16.0


def random_state(directory: Path, seed: int) -> dict[str, torch.Tensor]:
    """Seeded state dict for the skeleton of a model directory: torch's own initialisation, then calibrated.

    The output layer's bias is set so that no token is preferred on average over speech-like frames: random deep
    networks otherwise give one token for every frame. Equal seeds give equal weights with equal torch versions.
    """
    import torch

    from autotune.engines.network import empty_network

    model = ModelDirectory.open(directory)
    with torch.random.fork_rng(devices=[]), torch.inference_mode():
        torch.manual_seed(seed)
        network = empty_network(model).eval()
        features = _features(model, seed)
        if model.architecture == "SenseVoiceSmall":
            _calibrate_sensevoice(network, features)
        else:
            _calibrate_paraformer(network, features, model)
    return {name: tensor.clone() for name, tensor in network.state_dict().items()}


def speech_like(seconds: float, seed: int) -> Float32:
    """A seeded waveform, 16 kHz float32 [samples] in −1..1, with the spectrum and the syllable rate of speech.

    A glottal pulse train and noise through three formants that move every syllable, about four syllables a second.
    It has the features of speech; a voice activity detector is not fooled by it.
    """
    generator = np.random.default_rng(seed)
    rate, frame = 16000, 160
    frames = int(np.ceil(seconds * rate / frame)) + 4
    syllables = np.cumsum(generator.uniform(0.12, 0.35, size=frames)) * rate / frame
    centres = np.array([(300, 900), (900, 2300), (2300, 3200)])
    formants = generator.uniform(centres[:, 0], centres[:, 1], size=(frames, 3))
    which = np.searchsorted(syllables, np.arange(frames))
    spectrum = np.fft.rfftfreq(frame * 4, 1 / rate)
    wave = np.zeros((frames + 4) * frame)
    window = np.hanning(frame * 4)
    for index in range(frames):
        gain = sum(np.exp(-(((spectrum - centre) / 130) ** 2)) for centre in formants[which[index]]) + 0.003
        phase = (index * frame / (rate / 120)) % 1 * (rate / 120)
        pulses = np.zeros(frame * 4)
        pulses[int(-phase % (rate / 120)) :: rate // 120] = 1.0
        source = np.fft.rfft(pulses + 0.02 * generator.standard_normal(frame * 4))
        position = (syllables[which[index]] - index) * frame / rate
        loudness = 0.02 + np.sin(np.pi * np.clip(position / 0.25, 0.05, 0.95))
        wave[index * frame : index * frame + frame * 4] += window * loudness * np.fft.irfft(source * gain)
    wave = wave[: int(seconds * rate)]
    return np.asarray(0.3 * wave / np.abs(wave).max(), dtype=np.float32)


def _features(model: ModelDirectory, seed: int) -> torch.Tensor:
    """Normalised features [2, frames, feature_dim] from FunASR's own front end."""
    import torch
    from funasr.frontends.wav_frontend import WavFrontend

    frontend = WavFrontend(cmvn_file=str(model.frontend.cmvn_path), **model.config["frontend_conf"])
    waves = torch.from_numpy(np.stack([speech_like(_CALIBRATION_S / 2, seed + row) for row in range(2)]))
    features, _ = frontend(waves, [waves.shape[1]] * 2)
    return features  # type: ignore[no-any-return]


def _calibrate_sensevoice(network: Any, features: torch.Tensor) -> None:
    import torch

    batch, frames = features.shape[:2]
    prompts = network.embed(torch.tensor([[0, 1, 2, 15]])).repeat(batch, 1, 1)
    lengths = torch.full((batch,), frames + 4, dtype=torch.int32)
    encoded, _ = network.encoder(torch.cat((prompts, features), dim=1), lengths)
    _centre(network.ctc.ctc_lo, encoded)


def _calibrate_paraformer(network: Any, features: torch.Tensor, model: ModelDirectory) -> None:
    import torch

    batch, frames = features.shape[:2]
    lengths = torch.full((batch,), frames, dtype=torch.int32)
    hidden, _ = network.encode(features, lengths)
    predictor = network.predictor
    # A narrow spread of weights keeps the rate near its mean on any audio.
    context = predictor.pad(hidden.transpose(1, 2))
    scores = torch.relu(predictor.cif_conv1d(context)).transpose(1, 2) @ predictor.cif_output.weight.T
    predictor.cif_output.weight *= 0.25 / float(scores.std())
    scores = scores * (0.25 / float(scores.std()))
    predictor.cif_output.bias.fill_(_bias_for_rate(scores, TOKENS_PER_S * model.frontend.frame_s))
    embeds, token_num, *_ = network.calc_predictor(hidden, lengths)
    output = network.decoder(hidden, lengths, embeds, token_num.round().long())[0]
    network.decoder.output_layer.bias -= output.reshape(-1, output.shape[-1]).mean(dim=0)


def _bias_for_rate(scores: torch.Tensor, rate: float) -> float:
    """The bias with which the mean weight of a frame is ``rate`` (tokens a frame), by bisection."""
    import torch

    low, high = -30.0, 30.0
    for _ in range(60):
        middle = (low + high) / 2
        if float(torch.sigmoid(scores + middle).mean()) < rate:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def _centre(layer: Any, inputs: torch.Tensor) -> None:
    """Set the bias so that the layer's mean output over ``inputs`` [batch, frames, dim] is zero for every unit."""
    mean = inputs.reshape(-1, inputs.shape[-1]).mean(dim=0)
    layer.bias.copy_(-(layer.weight @ mean))
