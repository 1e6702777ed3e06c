"""How simple a deployment is: its settings that differ from what the runtime would do by itself."""

from __future__ import annotations

from autotune.deployment import Deployment

__all__ = ["non_default_knobs"]

_PLAIN: dict[str, str | bool] = {
    "graph_optimization_level": "all",
    "execution_mode": "sequential",
    "allow_spinning": True,
    "dynamic_block_base": "0",
    "denormal_as_zero": False,
    "cpu_mem_arena": True,
    "mapped_weights": False,
    "cudnn_conv_algo_search": "EXHAUSTIVE",
    "arena_extend_strategy": "kNextPowerOfTwo",
    "do_copy_in_default_stream": "1",
    "cudnn_conv_use_max_workspace": "1",
}
"""ONNX Runtime's defaults."""


def non_default_knobs(deployment: Deployment) -> int:
    """How many settings differ from what the runtime would do by itself."""
    options = {**deployment.session_options, **deployment.provider_options}
    changed = sum(key in _PLAIN and value != _PLAIN[key] for key, value in options.items())
    plain = (
        deployment.instances == 1,
        deployment.inter_op_num_threads == 1,
        deployment.weights in (None, "u8"),
        deployment.graph in (None, "funasr"),
        deployment.fp32_share == 0,
        not deployment.pinning,
        deployment.batch.max_wait_s == 0,
        deployment.batch.pad_to_s == 0,
    )
    return changed + plain.count(False)
