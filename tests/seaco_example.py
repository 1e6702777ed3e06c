"""A tiny SeacoParaformer: the published configuration's parts at the sizes of ``paraformer-tiny``."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from autotune.models import ModelInfo, resolve_model
from autotune.models.presets import PRESETS, write_random_model

__all__ = ["BICIF", "CHARACTERS", "SEACO", "listening_model"]

CHARACTERS = [chr(code) for code in range(0x4E00, 0x4E00 + 900)]
"""What ``listening_model`` splits hot words into."""

_TINY = PRESETS["paraformer-tiny"]

_WITH_TIMES: dict[str, Any] = {
    **_TINY.config,
    "predictor": "CifPredictorV3",
    "predictor_conf": {
        **_TINY.config["predictor_conf"],
        "smooth_factor2": 0.25,
        "noise_threshold2": 0.01,
        "upsample_times": 3,
        "use_cif1_cnn": False,
        "upsample_type": "cnn_blstm",
    },
}

BICIF = replace(_TINY, config={**_WITH_TIMES, "model": "BiCifParaformer"})
"""Paraformer with the published predictor of the models that give times."""

SEACO = replace(
    _TINY,
    config={
        **_WITH_TIMES,
        "model": "SeacoParaformer",
        "model_conf": {
            **_TINY.config["model_conf"],
            "inner_dim": 128,
            "bias_encoder_type": "lstm",
            "bias_encoder_bid": False,
            "seaco_lsm_weight": 0.1,
            "seaco_length_normal": True,
            "train_decoder": False,
            "NO_BIAS": 1000,
        },
        "seaco_decoder": "ParaformerSANMDecoder",
        "seaco_decoder_conf": {
            **_TINY.config["decoder_conf"],
            "num_blocks": 4,
            "att_layer_num": 6,
            "linear_units": 256,
            "kernel_size": 21,
            "use_output_layer": False,
            "wo_input_layer": True,
        },
    },
)
"""The same with its branch for hot words."""


def listening_model(folder: Path) -> ModelInfo:
    """A tiny SeacoParaformer whose branch speaks now and then and tells words apart, as a trained one's."""
    import torch

    write_random_model(SEACO, 0, folder)
    weights = torch.load(folder / "model.pt", weights_only=True)
    weights["hotword_output_layer.bias"][SEACO.config["model_conf"]["NO_BIAS"]] += 2.5
    for name, weight in weights.items():
        if name.startswith("bias_encoder.weight") or (name.startswith("seaco_decoder.") and "src_attn.linear" in name):
            weights[name] = 4 * weight
    torch.save(weights, folder / "model.pt")
    lines = [f"{character} {character}" for character in CHARACTERS] + ["hello h e l l o"]
    (folder / "seg_dict").write_text("\n".join(lines), encoding="utf-8")
    return resolve_model(str(folder))
