"""What a user can ask of ``tune`` and ``measure``. Imports nothing heavy, since ``--help`` shows it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from autotune.errors import DocumentError
from autotune.hot_words import read_hot_words
from autotune.options import (
    AUDIO_PROFILE,
    CHANNEL,
    MODEL,
    SLO,
    Channel,
    Option,
    parse_duration,
    parse_names,
    parse_size,
    read_storage,
)

__all__ = ["BLOCKS", "MOST_BLOCKS", "ExplainOptions", "MeasureOptions", "RecordedOptions", "TuneOptions"]

BLOCKS, MOST_BLOCKS = 4, 8
"""Interleaved blocks of ``measure`` where the user doesn't say: so many, and up to so many."""


@dataclass(frozen=True)
class TuneOptions:
    """Options of ``tune``, in the order of its ``--help``."""

    audio_profile: Annotated[str, AUDIO_PROFILE] = "long"
    model: Annotated[str | None, MODEL] = None
    audio: Annotated[
        Path | None,
        Option("Your own audio: a directory or file of wav, flac, ogg, opus or mp3 (any rate), or a manifest."),
    ] = None
    language: Annotated[
        str | None, Option("SenseVoice's language prompt: auto, zh, en, yue, ja, ko or nospeech. Default: auto.")
    ] = None
    itn: Annotated[
        bool | None,
        Option(
            "SenseVoice writes numbers as digits, and punctuation; without, words as spoken. Default: as the target "
            "always does, else without."
        ),
    ] = None
    """Inverse text normalisation; None: nothing was asked."""
    channel: Annotated[Channel, CHANNEL] = "mix"
    hot_words: Annotated[
        tuple[str, ...] | None,
        Option(
            "Words that a SeacoParaformer listens for in every recording, as words between blanks or a file with one a "
            "line. Default: as the audio profile says, else none.",
            "--hotwords",
            read_hot_words,
        ),
    ] = None
    trials: Annotated[int | None, Option("Deployments to measure, baselines included. Default: by --effort.")] = None
    timeout_s: Annotated[
        float | None, Option("Time limit for all trials, such as 90s, 20m or 2h.", "--timeout", parse_duration)
    ] = None
    effort: Annotated[str, Option("How much is measured: quick, standard or thorough.")] = "standard"
    devices: Annotated[
        tuple[str, ...] | None,
        Option(
            "Devices to search, comma-separated, such as cpu,cuda:0. Default: all of this machine.", read=parse_names
        ),
    ] = None
    search_space: Annotated[
        str,
        Option(
            "A shipped search space (all, cpu, gpu; onnxruntime, tensorrt, openvino, torchscript, pytorch), "
            "or a YAML file."
        ),
    ] = "all"
    target: Annotated[
        str,
        Option(
            "What will run the winner: autotune, funasr-wss, funasr-wss-2pass, funasr-http, funasr-onnx, "
            "funasr-python or triton. The search is restricted to what the target can express."
        ),
    ] = "autotune"
    vad_model: Annotated[
        str | None, Option("Directory of a FunASR FSMN-VAD model that cuts recordings. Default: one beside the model.")
    ] = None
    punc_model: Annotated[
        str | None,
        Option(
            "Directory of FunASR's ct-punc, or random:ct-punc, that punctuates the texts of every deployment and of "
            "FunASR's default."
        ),
    ] = None
    objective: Annotated[
        str | None,
        Option(
            "What is optimised: throughput, latency (p95) or streams (audio spoken in real time). Default: by profile."
        ),
    ] = None
    slo: Annotated[float | Literal["none"] | None, SLO] = None
    """Seconds within which 95 % of the texts must be there."""
    max_memory_bytes: Annotated[
        int | None, Option("Limit of peak memory, such as 512MiB or 4GiB.", "--max-memory", parse_size)
    ] = None
    storage: Annotated[
        str | None,
        Option(
            "A PostgreSQL database for the study, postgresql://user:password@host/database: identical machines that "
            "run the same command share one study. Default: the variable AUTOTUNE_STORAGE, which other users of a "
            "machine can't read as they can a command line; without it, a local file.",
            read=read_storage,
        ),
    ] = field(default=None, repr=False)
    seed: Annotated[int, Option("Seed of the workload, the search and the order of blocks.")] = 0
    study_name: Annotated[str | None, Option("Name of the study. Default: made from model, audio and machine.")] = None
    fresh: Annotated[bool, Option("Delete what this study has measured, and start again.", "--fresh")] = False
    history: Annotated[
        bool, Option("Measure winners of earlier studies early, and keep this study's winner for later ones.")
    ] = True
    start_from: Annotated[
        Path | None,
        Option("A deploy.yaml whose deployment is measured among the first, such as one that plan has predicted."),
    ] = None
    max_cer_increase: Annotated[
        float,
        Option(
            "Largest increase of the error rate over the reference, absolute: 0.005 is half a percentage point; inf: "
            "no limit.",
            infinite=True,
        ),
    ] = 0.005
    """``inf``: texts are judged, but nothing is rejected."""
    accuracy_reference: Annotated[
        str,
        Option(
            "What must not be lost against: baseline (FunASR's default, or fp32 PyTorch if that is less accurate) or "
            "fp32 (fp32 PyTorch alone)."
        ),
    ] = "baseline"
    service_times: Annotated[
        bool,
        Option("Also time the parts of the recommended deployment, for autotune plan.", "--service-times"),
    ] = False
    out: Annotated[Path, Option("File for the recommended deployment.")] = Path("deploy.yaml")
    explain_search: Annotated[
        bool,
        Option("Also show every trial: why it was measured, what was predicted, what came of it.", "--explain-search"),
    ] = False
    report: Annotated[Path | None, Option("Also write a report as one HTML file, as autotune report does.")] = None
    command: str = ""
    """The command line, for the file's provenance."""


@dataclass(frozen=True)
class RecordedOptions:
    """Options of commands that run what a file holds on the audio that it was recorded on."""

    model: Annotated[
        str | None, Option("Where the model lies now, if not where it was tuned; it must be the same.")
    ] = None
    vad_model: Annotated[
        str | None, Option("Where the FSMN-VAD lies now, if not where it was tuned; it must be the same.")
    ] = None
    punc_model: Annotated[
        str | None, Option("Where the punctuation model lies now, if not where it was tuned; it must be the same.")
    ] = None
    audio_profile: Annotated[
        str | None, Option("The audio profile's YAML file, if the first file was recorded on a profile of your own.")
    ] = None
    audio: Annotated[
        Path | None, Option("Your own audio, if the first file was recorded on it: the same path as then.")
    ] = None
    channel: Annotated[Channel, CHANNEL] = "mix"
    hot_words: Annotated[
        tuple[str, ...] | None,
        Option(
            'Hot words in place of those that the first file was recorded with, as for tune; "": none.',
            "--hotwords",
            read_hot_words,
        ),
    ] = None


@dataclass(frozen=True)
class ExplainOptions(RecordedOptions):
    """Options of ``explain``, in the order of its ``--help``."""

    against: Annotated[
        str, Option("What it is compared with: baseline, FunASR's default, or another deploy.yaml of the same model.")
    ] = "baseline"
    out: Annotated[Path | None, Option("Also write the text to this file.")] = None


@dataclass(frozen=True)
class MeasureOptions(RecordedOptions):
    """Options of ``measure``, in the order of its ``--help``."""

    blocks: Annotated[
        int | None,
        Option(f"Number of interleaved blocks. Default: {BLOCKS}, and up to {MOST_BLOCKS} while the interval is wide."),
    ] = None
    service_times: Annotated[
        bool, Option("Time the parts of one file's deployment, batches by rows and length, and keep them in the file.")
    ] = False

    def __post_init__(self) -> None:
        if self.blocks is not None and self.blocks < 2:
            raise DocumentError(f"--blocks must be at least 2, since one has no interval, but got {self.blocks}.")
