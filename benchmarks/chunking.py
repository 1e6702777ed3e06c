"""Error rate and speed over chunking choices: a table, and the trade-off curve as a picture.

    python benchmarks/chunking.py                       # the embedded model on the profile "long"

One engine and format (onnx-fp32 on all cores, batches of 8), every chunking choice measured in interleaved blocks of
fresh processes that hear one part of the audio each, its texts judged against the transcripts and against fp32
PyTorch on the clips' own boundaries. Writes ``docs/benchmarks/chunking.json`` and ``docs/chunking.png``.
Run it alone on the machine.
"""

import argparse
import json
import platform
import random
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from autotune.accuracy import Guard, Judge
from autotune.audio import build_workload, load_profile, with_hearing
from autotune.cli.terminal import TerminalReporter
from autotune.deployment import Batch, Chunking, Deployment
from autotune.files import cache_dir
from autotune.hardware import probe_hardware
from autotune.intervals import geometric_interval
from autotune.jobs.trial_runner import TrialRunner, TrialSubject
from autotune.measure import Measurement, Pooled, ReferenceRequest, reference_texts
from autotune.models import resolve_model

ROOT = Path(__file__).parent.parent
WINDOWS_S = (0.6, 1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0)
SEGMENTS_S = (5.0, 10.0, 20.0, 30.0, 60.0)


@dataclass
class Choice:
    """One way to cut, and what was measured of it."""

    family: str
    size_s: float
    chunking: Chunking
    measurements: list[Measurement] = field(default_factory=list)


def choices() -> list[Choice]:
    plain = [Choice("fixed", size, Chunking(method="fixed", window_s=size, overlap_s=0.0)) for size in WINDOWS_S]
    lapped = [
        Choice("fixed, 1 s overlap", size, Chunking(method="fixed", window_s=size, overlap_s=1.0))
        for size in WINDOWS_S
        if size > 2.0
    ]
    spoken = [
        Choice(
            "vad",
            size,
            Chunking(
                method="vad", vad_model="silero", max_segment_s=size, merge_s=size / 2, min_silence_s=0.4, pad_s=0.2
            ),
        )
        for size in SEGMENTS_S
    ]
    return [*plain, *lapped, *spoken]


def deployment(chunking: Chunking, threads: int) -> Deployment:
    return Deployment(
        format="onnx-fp32",
        weights=None,
        graph="funasr",
        engine="onnxruntime",
        device="cpu",
        instances=1,
        intra_op_num_threads=threads,
        inter_op_num_threads=1,
        session_options={
            "graph_optimization_level": "all",
            "execution_mode": "sequential",
            "allow_spinning": True,
            "dynamic_block_base": "0",
            "denormal_as_zero": False,
            "cpu_mem_arena": True,
            "mapped_weights": False,
        },
        provider_options={},
        batch=Batch(max_size=8, max_audio_s=120.0, max_wait_s=0.0),
        chunking=chunking,
        language="auto",
        text_norm="woitn",
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="default: the embedded one")
    parser.add_argument("--audio-profile", default="long")
    parser.add_argument("--recordings", type=int, help="a shard; default: the profile's")
    parser.add_argument("--blocks", type=int, default=6)
    parser.add_argument("--json", type=Path, default=ROOT / "docs" / "benchmarks" / "chunking.json")
    parser.add_argument("--picture", type=Path, default=ROOT / "docs" / "chunking.png")
    options = parser.parse_args()
    hardware, model = probe_hardware(), resolve_model(options.model)
    profile, cache = load_profile(options.audio_profile), cache_dir() / "workloads"
    workload = build_workload(
        profile, seed=0, shards=options.blocks, recordings_per_shard=options.recordings, cache=cache
    )
    workload = with_hearing(workload, profile, cache)
    request = ReferenceRequest(model, workload, hardware, device="cpu", language="auto", text_norm="woitn")
    judge = Judge(workload, reference_texts(request)[0])
    found = choices()
    generator = random.Random(0)
    with TerminalReporter() as reporter:
        subject = TrialSubject(model, workload, hardware, judge, block_shares=options.blocks)
        runner = TrialRunner(subject, reporter)
        for block in range(options.blocks):
            for choice in generator.sample(found, len(found)):
                measurement = runner(deployment(choice.chunking, hardware.usable_cores), block)
                choice.measurements.append(measurement)
                reporter.step("blocks", block, options.blocks, f"{choice.family} {choice.size_s:g} s")
    result = {
        "model": model.id,
        "date": datetime.now(UTC).date().isoformat(),
        "hardware": hardware.describe(),
        "versions": {
            **{package: version(package) for package in ("onnxruntime-gpu", "torch", "numpy", "silero-vad")},
            "python": platform.python_version(),
        },
        "audio_profile": workload.profile,
        "audio_s": workload.audio_s,
        "clips": judge.clips,
        "blocks": options.blocks,
        "reference_cer": judge.reference_rate,
        "choices": [row(choice) for choice in found],
    }
    options.json.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    draw(result, options.picture)
    for entry in result["choices"]:
        print(
            f"{entry['family']:20s} {entry['size_s']:5g} s  RTFx {entry['rtfx'][0]:6.1f} "
            f"({entry['rtfx'][1]:.1f}–{entry['rtfx'][2]:.1f})  CER {entry['cer'][0]:6.2%} "
            f"({entry['cer'][1]:.2%}–{entry['cer'][2]:.2%})  padding {entry['padding_share']:.0%}"
        )


def row(choice: Choice) -> dict[str, Any]:
    figures = Pooled(tuple(choice.measurements))
    rtfx = geometric_interval([measurement.rtfx for measurement in choice.measurements])
    verdict = Guard(reference="fp32").verdict(figures.accuracy)
    assert verdict is not None
    return {
        "family": choice.family,
        "size_s": choice.size_s,
        "chunking": choice.chunking.model_dump(mode="json", exclude_none=True),
        "rtfx": [rtfx.median, rtfx.low, rtfx.high],
        "cer": [verdict.rate.value, verdict.rate.low, verdict.rate.high],
        "increase": [verdict.increase.value, verdict.increase.low, verdict.increase.high],
        "verdict": verdict.outcome,
        "padding_share": figures.padding_share,
    }


def draw(result: dict[str, Any], path: Path) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(8, 5), layout="constrained")
    for family, marker in (("fixed", "o"), ("fixed, 1 s overlap", "s"), ("vad", "^")):
        rows = [entry for entry in result["choices"] if entry["family"] == family]
        speed = [entry["rtfx"][0] for entry in rows]
        error = [100 * entry["cer"][0] for entry in rows]
        spread = [
            [100 * (entry["cer"][0] - entry["cer"][1]) for entry in rows],
            [100 * (entry["cer"][2] - entry["cer"][0]) for entry in rows],
        ]
        axes.errorbar(speed, error, yerr=spread, marker=marker, label=family, capsize=2, linewidth=1)
        for entry, x, y in zip(rows, speed, error, strict=True):
            axes.annotate(f"{entry['size_s']:g} s", (x, y), textcoords="offset points", xytext=(6, 5), fontsize=8)
    reference = 100 * result["reference_cer"]
    axes.axhline(reference, color="grey", linestyle="--", linewidth=1)
    axes.annotate("fp32 PyTorch at the clips' boundaries", (0.99, reference), xycoords=("axes fraction", "data"),
                  ha="right", va="bottom", fontsize=8, color="grey")  # fmt: skip
    axes.set_yscale("log")
    axes.set_xlabel("RTFx (faster →)")
    axes.set_ylabel("CER, % (log scale)")
    axes.set_title(
        f"Chunking: {result['model']} model on “{result['audio_profile']}”, onnx-fp32\n{result['hardware']}",
        fontsize=10,
    )
    axes.grid(alpha=0.3, which="both")
    axes.legend()
    figure.savefig(path, dpi=130)


if __name__ == "__main__":
    main()
