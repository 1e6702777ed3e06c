"""What a user can ask of ``tune`` and ``measure``. Imports nothing heavy, since ``--help`` shows it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from autotune.errors import DocumentError
from autotune.options import AUDIO_PROFILE, MODEL, SLO, Option, parse_duration, parse_names, parse_size

__all__ = ["MeasureOptions", "TuneOptions"]


@dataclass(frozen=True)
class TuneOptions:
    """Options of ``tune``, in the order of its ``--help``."""

    audio_profile: Annotated[str, AUDIO_PROFILE] = "long"
    model: Annotated[str | None, MODEL] = None
    audio: Annotated[
        Path | None,
        Option("Your own audio: a directory or file of wav, flac, ogg or mp3 (any rate), or a manifest."),
    ] = None
    trials: Annotated[int | None, Option("Deployments to measure, baselines included.")] = None
    timeout_s: Annotated[
        float | None, Option("Time for all trials, such as 90s, 20m or 2h.", "--timeout", parse_duration)
    ] = None
    effort: Annotated[str, Option("quick, standard or thorough.")] = "standard"
    devices: Annotated[
        tuple[str, ...] | None,
        Option("Comma-separated, such as cpu,cuda:0. Default: all there are.", read=parse_names),
    ] = None
    search_space: Annotated[
        str, Option("all, cpu, gpu, onnxruntime, openvino, torchscript, pytorch, or a search space's YAML file.")
    ] = "all"
    target: Annotated[
        str,
        Option(
            "What will run the winner: autotune, funasr-wss, funasr-wss-2pass, funasr-http, funasr-onnx, "
            "funasr-python or triton. Only what it can express is searched."
        ),
    ] = "autotune"
    vad_model: Annotated[str | None, Option("Directory of a FunASR FSMN-VAD model, to cut recordings by.")] = None
    objective: Annotated[
        str | None,
        Option("throughput, latency (p95) or streams (audio spoken in real time). Default: the profile's."),
    ] = None
    slo: Annotated[float | Literal["none"] | None, SLO] = None
    """Seconds within which 95 % of the texts must be there."""
    max_memory_bytes: Annotated[
        int | None, Option("Largest peak memory, such as 512MiB or 4GiB.", "--max-memory", parse_size)
    ] = None
    storage: Annotated[
        str | None,
        Option("postgresql://user:password@host/database: the same command on identical machines shares one study."),
    ] = None
    seed: Annotated[int, Option("Of workload, search and block order.")] = 0
    study_name: Annotated[str | None, Option("Name of the study; default: from model, audio and machine.")] = None
    fresh: Annotated[bool, Option("Forget what this study has measured and start anew.", "--fresh")] = False
    history: Annotated[bool, Option("Start from winners of earlier studies, and remember this one.")] = True
    max_cer_increase: Annotated[
        float,
        Option(
            "Largest increase of the error rate over fp32 PyTorch, absolute: 0.005 is half a percentage point; "
            "inf: no limit."
        ),
    ] = 0.005
    """``inf``: texts are judged, but nothing is rejected."""
    out: Annotated[Path, Option("Where the winner is written.")] = Path("deploy.yaml")
    command: str = ""
    """The command line, for the file's provenance."""


@dataclass(frozen=True)
class MeasureOptions:
    """Options of ``measure``, in the order of its ``--help``."""

    blocks: Annotated[
        int | None,
        Option("Interleaved blocks. Default: 4, and up to 8 while the interval is wider than ±1.5 %."),
    ] = None
    audio_profile: Annotated[
        str | None, Option("The profile's YAML file, if the first file was recorded on one of your own.")
    ] = None
    audio: Annotated[
        Path | None, Option("Your own audio, if the first file was recorded on some: as it was given then.")
    ] = None

    def __post_init__(self) -> None:
        if self.blocks is not None and self.blocks < 2:
            raise DocumentError(f"--blocks must be at least 2, since one has no interval, but got {self.blocks}.")
