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

__all__ = ["TOKENS_PER_S", "random_state"]

TOKENS_PER_S = 4.4
"""Tokens in a second of Mandarin speech: what the CIF predictor of a random Paraformer is calibrated to."""

_CALIBRATION_CLIPS = 20


def random_state(directory: Path, seed: int) -> dict[str, torch.Tensor]:
    """Seeded state dict for the skeleton of a model directory: torch's own initialisation, then calibrated.

    The output layer's bias is set so that no token is preferred on average over frames of speech: random deep
    networks otherwise give one token for every frame. Equal seeds give equal weights with equal torch versions.
    """
    import torch

    from autotune.engines.network import empty_network

    model = ModelDirectory.open(directory)
    with torch.random.fork_rng(devices=[]), torch.inference_mode():
        torch.manual_seed(seed)
        network = empty_network(model, hot_words=True).eval()
        features = _features(model)
        if model.architecture == "SenseVoiceSmall":
            _calibrate_sensevoice(network, features)
        else:
            _calibrate_paraformer(network, features, model)
    return {name: tensor.clone() for name, tensor in network.state_dict().items()}


def _features(model: ModelDirectory) -> torch.Tensor:
    """Normalised features [1, frames, feature_dim] of embedded speech, from FunASR's own front end."""
    import torch

    from autotune.engines.funasr_import import skip_funasr_init

    skip_funasr_init()
    from funasr.frontends.wav_frontend import WavFrontend

    from autotune.audio.embedded import embedded_clips

    frontend = WavFrontend(cmvn_file=str(model.frontend.cmvn_path), **model.config["frontend_conf"])
    wave = torch.from_numpy(np.concatenate([clip.waveform for clip in embedded_clips()[:_CALIBRATION_CLIPS]]))
    return frontend(wave[None], [len(wave)])[0]  # type: ignore[no-any-return]


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
