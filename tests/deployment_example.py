"""A complete, invented ``deploy.yaml`` for tests; docs/deploy-yaml.md shows a part of it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from autotune.deploy_yaml import (
    ArtifactRecord,
    AudioRecord,
    BaselineRecord,
    CerRecord,
    DeploymentFile,
    GoalRecord,
    HardwareRecord,
    IntervalRecord,
    LatencyRecord,
    MeasurementRecord,
    NewShapesRecord,
    OtherBaselineRecord,
    ProvenanceRecord,
    RateRecord,
)
from autotune.deployment import Batch, Chunking, Deployment, baseline_deployment
from autotune.hardware import HardwareProfile
from autotune.models import ModelInfo, Parity

__all__ = ["example_deployment", "example_file"]


def example_deployment(**changes: Any) -> Deployment:
    """An ONNX Runtime deployment on the CPU with fields replaced by ``changes``, validated."""
    fields: dict[str, Any] = {
        "format": "onnx-int8",
        "weights": "s8",
        "graph": "fused",
        "engine": "onnxruntime",
        "device": "cpu",
        "instances": 2,
        "intra_op_num_threads": 1,
        "inter_op_num_threads": 1,
        "session_options": {
            "graph_optimization_level": "all",
            "execution_mode": "sequential",
            "allow_spinning": False,
            "dynamic_block_base": "0",
            "denormal_as_zero": False,
            "cpu_mem_arena": True,
            "mapped_weights": False,
        },
        "provider_options": {},
        "batch": Batch(max_size=4, max_audio_s=120.0, max_wait_s=0.0),
        "chunking": Chunking(method="fixed", window_s=15.0, overlap_s=0.0),
        "language": "auto",
        "text_norm": "woitn",
    }
    return Deployment(**{**fields, **changes})


def example_file(**changes: Any) -> DeploymentFile:
    """An invented, consistent document with sections replaced by ``changes``, validated.

    A ``deployment`` that exports nothing drops the artifact; ``recommended="baseline"`` drops the speed-up.
    """
    sections = _sections()
    if changes.get("recommended") == "baseline":
        sections |= {"deployment": sections["baseline"].deployment, "speedup": None, "artifact": None}
        sections["reason"] = "Nothing measured was faster than FunASR's default with 95 % confidence."
    deployment = changes.get("deployment", sections["deployment"])
    if sections["artifact"] is not None and deployment.format != sections["artifact"].format:
        sections["artifact"] = None
    return DeploymentFile(**{**sections, **changes})


def _sections() -> dict[str, Any]:
    return {
        "recommended": "tuned",
        "reason": "Faster than FunASR's default with 95 % confidence; CER 5.21 % (+0.08 points): passed.",
        "goal": GoalRecord(
            objective="throughput",
            p95_latency_s=None,
            max_memory_bytes=None,
            max_cer_increase=0.005,
            accuracy_reference="baseline",
        ),
        "model": ModelInfo(
            id="iic/SenseVoiceSmall",
            path="/models/SenseVoiceSmall",
            architecture="SenseVoiceSmall",
            parameters=233_998_439,
            weights="pretrained",
            sha256="4f1c" * 16,
            revision=None,
        ),
        "audio_profile": AudioRecord(
            name="long",
            seed=0,
            audio_s=1200.5,
            recordings=5,
            shards=5,
            arrival="closed",
            source=None,
            sha256=None,
            hearing_s=1697.7,
        ),
        "hardware": HardwareRecord.of(_hardware()),
        "deployment": example_deployment(),
        "measurement": _measurement(),
        "baseline": _baseline(),
        "speedup": IntervalRecord(median=3.9, low=3.6, high=4.2),
        "artifact": ArtifactRecord(
            format="onnx-int8",
            key="9a3b0c5d7e1f2468",
            size_bytes=241_172_480,
            parity=Parity(
                reference="onnx-fp32",
                max_relative_error=0.031,
                argmax_agreement=0.992,
                frames=1250,
                lengths_agree=True,
                gated=False,
                passed=True,
            ),
        ),
        "provenance": _provenance(),
    }


def _hardware() -> HardwareProfile:
    return HardwareProfile(
        cpu="Intel(R) Xeon(R) Platinum 8481C",
        architecture="x86_64",
        usable_cores=2,
        cpus=(0, 1),
        logical_cores=2,
        isa=("amx_bf16", "amx_int8", "avx2", "avx512_vnni"),
        memory_bytes=16 * 2**30,
        gpus=(),
    )


def _measurement() -> MeasurementRecord:
    return MeasurementRecord(
        rtfx=IntervalRecord(median=74.9, low=71.8, high=78.1),
        latency_s=LatencyRecord(p50=3.0, p95=5.8, p99=6.1),
        peak_memory_bytes=1_100_000_000,
        load_s=1.9,
        accuracy="checked",
        cer=_cer(0.0521, 0.0012),
        stages={"read": 0.0002, "chunk": 0.00001, "features": 0.0018, "engine": 0.0109, "decode": 0.0003},
        padding_share=0.04,
        new_shapes=NewShapesRecord(share=0.25, cost=0.02),
        noise={"steal_share": 0.0, "other_cpu_share": 0.01, "involuntary_switches": 212.0},
        stability="stable",
        blocks=4,
    )


def _baseline() -> BaselineRecord:
    return BaselineRecord(
        deployment=baseline_deployment(ncpu=2),
        rtfx=IntervalRecord(median=19.2, low=18.6, high=19.8),
        latency_s=LatencyRecord(p50=11.9, p95=22.4, p99=24.0),
        peak_memory_bytes=2_300_000_000,
        cer=_cer(0.0513, 0.0004),
        other=OtherBaselineRecord(
            deployment=baseline_deployment(ncpu=4),
            rtfx=8.1,
        ),
    )


def _cer(rate: float, increase: float) -> CerRecord:
    return CerRecord(
        unit="cer",
        rate=RateRecord(value=rate, low=round(rate - 0.006, 4), high=round(rate + 0.006, 4)),
        baseline=0.0513,
        baseline_increase=_difference(round(rate - 0.0513, 4)),
        reference=round(rate - increase, 4),
        increase=_difference(increase),
        allowed=0.005,
        verdict="passed",
        visible=0.0021,
        more_audio=None,
        clips=320,
        tokens="characters",
    )


def _difference(value: float) -> RateRecord:
    return RateRecord(value=value, low=round(value - 0.0015, 4), high=round(value + 0.0015, 4))


def _provenance() -> ProvenanceRecord:
    return ProvenanceRecord(
        autotune="0.1.0",
        packages={"onnxruntime-gpu": "1.31.1", "torch": "2.13.0", "funasr": "1.4.16"},
        study="sensevoice-small-long-1c2d3e",
        trial=17,
        seed=0,
        command="autotune --audio-profile long --model iic/SenseVoiceSmall",
        date=datetime(2026, 8, 30, 12, 0, tzinfo=UTC),
        python="3.11.9",
    )
