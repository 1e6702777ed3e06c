"""A tiny SeacoParaformer: the published configuration's parts at the sizes of ``paraformer-tiny``."""

from dataclasses import replace
from typing import Any

from autotune.models.presets import PRESETS

__all__ = ["BICIF", "SEACO"]

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
