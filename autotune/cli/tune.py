"""``autotune tune``: the main job."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from autotune.cli.options import JsonOption, ModelOption, parse_duration, parse_size, parse_slo

__all__ = ["tune"]


def tune(
    audio_profile: Annotated[
        str, typer.Option(help="short, long, mixed, streaming, or a profile's YAML file.")
    ] = "long",
    model: ModelOption = None,
    audio: Annotated[
        Path | None,
        typer.Option(help="Your own audio: a directory or file of wav, flac, ogg or mp3 (any rate), or a manifest."),
    ] = None,
    trials: Annotated[int | None, typer.Option(help="Deployments to measure, baselines included.")] = None,
    timeout: Annotated[str | None, typer.Option(help="Time for all trials, such as 90s, 20m or 2h.")] = None,
    effort: Annotated[str, typer.Option(help="quick, standard or thorough.")] = "standard",
    devices: Annotated[
        str | None, typer.Option(help="Comma-separated, such as cpu,cuda:0. Default: all there are.")
    ] = None,
    search_space: Annotated[
        str,
        typer.Option(help="all, cpu, gpu, onnxruntime, openvino, torchscript, pytorch, or a search space's YAML file."),
    ] = "all",
    target: Annotated[
        str,
        typer.Option(
            help="What will run the winner: autotune, funasr-wss, funasr-wss-2pass, funasr-http, funasr-onnx, "
            "funasr-python or triton. Only what it can express is searched."
        ),
    ] = "autotune",
    vad_model: Annotated[
        str | None, typer.Option(help="Directory of a FunASR FSMN-VAD model, to cut recordings by.")
    ] = None,
    objective: Annotated[
        str | None,
        typer.Option(help="throughput, latency (p95) or streams (audio spoken in real time). Default: the profile's."),
    ] = None,
    slo: Annotated[
        str | None, typer.Option(help="p95_latency_s=SECONDS, or none. Default: what the audio profile promises.")
    ] = None,
    max_memory: Annotated[str | None, typer.Option(help="Largest peak memory, such as 512MiB or 4GiB.")] = None,
    storage: Annotated[
        str | None,
        typer.Option(
            help="postgresql://user:password@host/database: the same command on identical machines shares one study."
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of workload, search and block order.")] = 0,
    study_name: Annotated[
        str | None, typer.Option(help="Name of the study; default: from model, audio and machine.")
    ] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Forget what this study has measured and start anew.")] = False,
    history: Annotated[bool, typer.Option(help="Start from winners of earlier studies, and remember this one.")] = True,
    max_cer_increase: Annotated[
        float,
        typer.Option(
            help="Largest increase of the error rate over fp32 PyTorch, absolute: 0.005 is half a percentage point; "
            "inf: no limit."
        ),
    ] = 0.005,
    out: Annotated[Path, typer.Option(help="Where the winner is written.")] = Path("deploy.yaml"),
    json_: JsonOption = False,
) -> None:
    """Measure deployments of a model on this machine and write the best as deploy.yaml.

    Run the same command again to go on where it stopped. Ctrl-C ends the search with the best so far; a second
    Ctrl-C leaves at once.
    """
    import json

    from autotune.cli.terminal import TerminalReporter
    from autotune.cli.tune_report import print_report, print_shared, report_json, shared_json
    from autotune.jobs.tune import SharedPart, TuneOptions
    from autotune.jobs.tune import tune as run

    options = TuneOptions(
        audio_profile=audio_profile,
        command=shlex.join(["autotune", *sys.argv[1:]]),
        model=model,
        audio=audio,
        search_space=search_space,
        target=target,
        vad_model=vad_model,
        devices=tuple(part.strip() for part in devices.split(",")) if devices else None,
        effort=effort,
        trials=trials,
        timeout_s=parse_duration(timeout, "--timeout"),
        seed=seed,
        study_name=study_name,
        fresh=fresh,
        max_cer_increase=max_cer_increase,
        objective=objective,
        slo=parse_slo(slo),
        max_memory_bytes=parse_size(max_memory, "--max-memory"),
        storage=storage,
        history=history,
        out=out,
    )
    with TerminalReporter() as reporter:
        result = run(options, reporter)
    if isinstance(result, SharedPart):
        print(json.dumps(shared_json(result))) if json_ else print_shared(result)
    elif json_:
        print(json.dumps(report_json(result)))
    else:
        print_report(result)
