"""Presets: FunASR's published architectures with seeded random weights, written as ordinary model directories."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from autotune.documents import suggest
from autotune.errors import ModelError
from autotune.models.vocabulary import paraformer_tokens, sensevoice_pieces, sentencepiece_model

__all__ = ["BPE_FILE", "PRESETS", "RANDOM_RECIPE", "Preset", "write_preset", "write_random_model", "write_skeleton"]

RANDOM_RECIPE = 3
"""Version of random models, raised whenever the same preset and seed come out different."""

FRONTEND = {
    "fs": 16000,
    "window": "hamming",
    "n_mels": 80,
    "frame_length": 25,
    "frame_shift": 10,
    "lfr_m": 7,
    "lfr_n": 6,
    # FunASR adds noise by default; without it the same audio gives the same features.
    "dither": 0.0,
}

BPE_FILE = "chn_jpn_yue_eng_ko_spectok.bpe.model"

_NO_BIAS = 8377
"""The published vocabulary's id by which the branch for hot words says that none was spoken."""

# Log-mel statistics of speech at 16-bit scale, interpolated between these mel bins: (bin, mean, deviation).
_CMVN_ANCHORS = (
    (0, 8.3, 6.4),
    (5, 11.9, 6.7),
    (10, 12.9, 6.9),
    (20, 13.5, 6.9),
    (40, 13.5, 6.6),
    (56, 15.0, 6.2),
    (65, 14.6, 6.0),
    (75, 14.0, 5.9),
    (79, 11.7, 6.4),
)


@dataclass(frozen=True)
class Preset:
    """A model to be made of random weights."""

    config: Mapping[str, Any]
    """The architecture's part of ``config.yaml``."""
    vocabulary: int
    """Number of tokens."""


def _sensevoice(output_size: int, linear_units: int, blocks: tuple[int, int], vocabulary: int) -> Preset:
    encoder = {
        "output_size": output_size,
        "attention_heads": 4,
        "linear_units": linear_units,
        "num_blocks": blocks[0],
        "tp_blocks": blocks[1],
        "dropout_rate": 0.1,
        "positional_dropout_rate": 0.1,
        "attention_dropout_rate": 0.1,
        "input_layer": "pe",
        "pos_enc_class": "SinusoidalPositionEncoder",
        "normalize_before": True,
        "kernel_size": 11,
        "sanm_shfit": 0,
        "selfattention_layer_type": "sanm",
    }
    config = {
        "model": "SenseVoiceSmall",
        "model_conf": {"length_normalized_loss": True, "sos": 1, "eos": 2, "ignore_id": -1},
        "encoder": "SenseVoiceEncoderSmall",
        "encoder_conf": encoder,
        "tokenizer": "SentencepiecesTokenizer",
        "tokenizer_conf": {"bpemodel": None, "unk_symbol": "<unk>", "split_with_space": True},
        "ctc_conf": {"dropout_rate": 0.0, "ctc_type": "builtin", "reduce": True, "ignore_nan_grad": True},
        "normalize": None,
    }
    return Preset(config, vocabulary)


def _paraformer(output_size: int, linear_units: int, blocks: tuple[int, int], vocabulary: int) -> Preset:
    dropout = {"dropout_rate": 0.1, "positional_dropout_rate": 0.1}
    sanm = {"attention_heads": 4, "linear_units": linear_units, "kernel_size": 11, "sanm_shfit": 0, **dropout}
    encoder = {
        "output_size": output_size,
        "num_blocks": blocks[0],
        "attention_dropout_rate": 0.1,
        "input_layer": "pe",
        "pos_enc_class": "SinusoidalPositionEncoder",
        "normalize_before": True,
        "selfattention_layer_type": "sanm",
        **sanm,
    }
    attention = {"self_attention_dropout_rate": 0.1, "src_attention_dropout_rate": 0.1}
    decoder = {"num_blocks": blocks[1], "att_layer_num": blocks[1], **attention, **sanm}
    config = {
        "model": "Paraformer",
        "model_conf": {
            "ctc_weight": 0.0,
            "lsm_weight": 0.1,
            "length_normalized_loss": True,
            "predictor_weight": 1.0,
            "predictor_bias": 1,
            "sampling_ratio": 0.75,
        },
        "encoder": "SANMEncoder",
        "encoder_conf": encoder,
        "decoder": "ParaformerSANMDecoder",
        "decoder_conf": decoder,
        "predictor": "CifPredictorV2",
        "predictor_conf": {
            "idim": output_size,
            "threshold": 1.0,
            "l_order": 1,
            "r_order": 1,
            "tail_threshold": 0.45,
        },
        "tokenizer": "CharTokenizer",
        "tokenizer_conf": {"unk_symbol": "<unk>", "split_with_space": True},
        "ctc_conf": {"dropout_rate": 0.0, "ctc_type": "builtin", "reduce": True, "ignore_nan_grad": True},
        "normalize": None,
    }
    return Preset(config, vocabulary)


def _seaco(output_size: int, linear_units: int, blocks: tuple[int, int], vocabulary: int) -> Preset:
    """SeacoParaformer as in FunASR's template: Paraformer with a second CIF for times and a branch for hot words."""
    base = _paraformer(output_size, linear_units, blocks, vocabulary).config
    branch = {
        "inner_dim": output_size,
        "bias_encoder_type": "lstm",
        "bias_encoder_bid": False,
        "seaco_lsm_weight": 0.1,
        "seaco_length_normal": True,
        "train_decoder": False,
        "NO_BIAS": _NO_BIAS,
    }
    seaco_decoder = {
        **base["decoder_conf"],
        "linear_units": linear_units // 2,
        "num_blocks": 4,
        "att_layer_num": 6,
        "kernel_size": 21,
        "use_output_layer": False,
        "wo_input_layer": True,
    }
    second_cif = {
        "smooth_factor2": 0.25,
        "noise_threshold2": 0.01,
        "upsample_times": 3,
        "use_cif1_cnn": False,
        "upsample_type": "cnn_blstm",
    }
    config = {
        **base,
        "model": "SeacoParaformer",
        "model_conf": {**base["model_conf"], **branch},
        "seaco_decoder": "ParaformerSANMDecoder",
        "seaco_decoder_conf": seaco_decoder,
        "predictor": "CifPredictorV3",
        "predictor_conf": {**base["predictor_conf"], **second_cif},
    }
    return Preset(config, vocabulary)


PRESETS: dict[str, Preset] = {
    "sensevoice-small": _sensevoice(512, 2048, (50, 20), 25055),
    "paraformer-large": _paraformer(512, 2048, (50, 16), 8404),
    "paraformer-zh": _seaco(512, 2048, (50, 16), 8404),
    "sensevoice-tiny": _sensevoice(128, 512, (4, 1), 1024),
    "paraformer-tiny": _paraformer(128, 512, (3, 2), 1024),
}
"""The published shapes of SenseVoiceSmall (234.0 M parameters), Paraformer-large (220.1 M) and the SeacoParaformer that
FunASR calls ``paraformer-zh``, and tiny ones (<2 M)."""


def write_preset(preset: str, seed: int, out: Path) -> None:
    """Write a preset as a FunASR model directory that ``funasr.AutoModel`` loads. Child processes only.

    Raises:
        ModelError: no such preset.
        OSError: ``out`` is not writable or the disk is full.
    """
    if preset not in PRESETS:
        names = sorted(PRESETS)
        raise ModelError(
            f"A random model must be one of {', '.join(names)}, but got {preset!r}. {suggest(preset, names)}"
        )
    write_random_model(PRESETS[preset], seed, out)


def write_random_model(preset: Preset, seed: int, out: Path) -> None:
    """Write any configuration of the supported classes with seeded random weights. Child processes only."""
    from autotune.models.random_weights import random_state

    write_skeleton(preset, out, random_seed=seed)
    weights = out / "model.pt"
    weights.touch()
    state = random_state(out, seed)

    import torch

    torch.save(state, weights)


def write_skeleton(preset: Preset, out: Path, *, random_seed: int) -> None:
    """Everything of a model directory but its weights: configuration, vocabulary and CMVN. Loads no torch.

    ``configuration.json`` says that the weights are random, so that nobody takes them for a trained model's.
    """
    out.mkdir(parents=True, exist_ok=True)
    config = {**preset.config, "frontend": "WavFrontend", "frontend_conf": FRONTEND}
    (out / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
    if preset.config["tokenizer"] == "SentencepiecesTokenizer":
        (out / BPE_FILE).write_bytes(sentencepiece_model(sensevoice_pieces(preset.vocabulary)))
        tokenizer = {"bpemodel": BPE_FILE}
    else:
        tokens = paraformer_tokens(preset.vocabulary)
        (out / "tokens.json").write_text(json.dumps(tokens, ensure_ascii=False, indent=0), encoding="utf-8")
        tokenizer = {"token_list": "tokens.json"}
    (out / "am.mvn").write_text(_cmvn_text(FRONTEND["n_mels"], FRONTEND["lfr_m"]), encoding="utf-8")
    meta = {
        "framework": "pytorch",
        "task": "auto-speech-recognition",
        "model": {"type": "funasr"},
        "random_weights": {"seed": random_seed},
        "file_path_metas": {
            "init_param": "model.pt",
            "config": "config.yaml",
            "tokenizer_conf": tokenizer,
            "frontend_conf": {"cmvn_file": "am.mvn"},
        },
    }
    (out / "configuration.json").write_text(json.dumps(meta, indent=2), encoding="utf-8")


def _cmvn_text(n_mels: Any, stacked: Any) -> str:
    """kaldi-nnet text: shift by minus the mean, then rescale by one over the deviation, for the stacked frame."""
    import numpy as np

    bins = [bin_ for bin_, _, _ in _CMVN_ANCHORS]
    mean = np.tile(np.interp(range(n_mels), bins, [value for _, value, _ in _CMVN_ANCHORS]), stacked)
    deviation = np.tile(np.interp(range(n_mels), bins, [value for _, _, value in _CMVN_ANCHORS]), stacked)
    size = len(mean)
    shift = " ".join(f"{-value:.6f}" for value in mean)
    scale = " ".join(f"{1 / value:.7f}" for value in deviation)
    return (
        f"<Nnet> \n<Splice> {size} {size}\n[ 0 ]\n"
        f"<AddShift> {size} {size} \n<LearnRateCoef> 0 [ {shift} ]\n"
        f"<Rescale> {size} {size} \n<LearnRateCoef> 0 [ {scale} ]\n</Nnet> \n"
    )
