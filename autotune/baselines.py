"""What deployments are compared with where a model is an ONNX file alone, and what reports call it."""

from __future__ import annotations

from typing import Any, NamedTuple

from autotune.accuracy import FP32_PYTORCH, FUNASRS_DEFAULT
from autotune.deployment import SILERO, Batch, Chunking, Deployment
from autotune.model_directory import Given

__all__ = ["USUALLY", "Compared", "compared", "given_deployment"]

_AS_AUTOMODEL = Chunking(method="vad", vad_model=SILERO, max_segment_s=60.0, merge_s=0.0, min_silence_s=0.1, pad_s=0.03)
"""Silero VAD with the settings by which FunASR's AutoModel cuts (funasr/models/silero_vad)."""


class Compared(NamedTuple):
    """What a study's texts and speeds are compared with, in words."""

    baseline: str
    reference: str


USUALLY = Compared(FUNASRS_DEFAULT, FP32_PYTORCH)
"""Of a model that PyTorch runs."""


def compared(baseline: Deployment) -> Compared:
    """What reports call a baseline, and the reference of its study's texts."""
    if baseline.engine != "onnxruntime":
        return USUALLY
    name = f"the given {baseline.format} file"
    return Compared(f"{name} as funasr_onnx runs it", f"{name} in batches of one")


def given_deployment(
    given: Given,
    *,
    ncpu: int,
    device: str = "cpu",
    language: Any = "auto",
    text_norm: Any = "woitn",
) -> Deployment:
    """A directory's ONNX file as ``funasr_onnx`` runs it: one session, one segment at a time, Silero VAD before it.

    The options are those of funasr_onnx 0.4 (``utils/utils.py``, OrtInferSession).

    Args:
        given: which of its files.
        ncpu: ``intra_op_num_threads``; funasr_onnx's default is 4 whatever the machine has.
        device: where it runs.
        language: SenseVoice's language prompt.
        text_norm: its text normalisation prompt.
    """
    return Deployment(
        format=given,
        weights="u8" if given == "onnx-int8" else None,
        graph="funasr",
        engine="onnxruntime",
        device=device,
        instances=1,
        intra_op_num_threads=ncpu,
        inter_op_num_threads=1,
        session_options={
            "graph_optimization_level": "all",
            "execution_mode": "sequential",
            "allow_spinning": True,
            "dynamic_block_base": "0",
            "denormal_as_zero": False,
            "cpu_mem_arena": False,
            "mapped_weights": False,
        },
        provider_options={},
        batch=Batch(max_size=1, max_audio_s=300.0, max_wait_s=0.0),
        chunking=_AS_AUTOMODEL,
        language=language,
        text_norm=text_norm,
    )
