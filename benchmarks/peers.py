"""autotune's recognizer against funasr_onnx at its own default knobs, and against FunASR's AutoModel, interleaved.

    python benchmarks/peers.py --model random:sensevoice-small

Same model, same segments, same ONNX file, same ONNX Runtime version. funasr_onnx lives in an environment of its own
(made on the first run): it would install a second ONNX Runtime beside onnxruntime-gpu. Every side runs every segment
once a round, one segment after another, in random order of sides, in processes that were loaded and warmed up before.
Ratios are paired by segment and round: four threads on fewer cores are so noisy that longer pairs show nothing.
A process keeps its luck (where its memory lies, on which cores its threads spin) as long as it lives, so all sides are
started anew several times, and the interval is over these starts. Run it alone on the machine: with a busy neighbour
the intervals tell, but the figures mean nothing.
"""

import argparse
import json
import platform
import random
import shutil
import sys
import tempfile
import time
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import numpy as np

from autotune.audio import build_workload, load_profile, read_audio
from autotune.baselines import given_deployment
from autotune.deployment import Chunking, Deployment
from autotune.files import cache_dir
from autotune.formats import ArtifactSpec
from autotune.hardware import probe_hardware
from autotune.intervals import geometric_interval
from autotune.models import ensure_artifact, resolve_model
from benchmarks.sides import FUNASR_ONNX, OURS, Side, SideSpec, funasr_onnx_python


def ours(weights: Literal["u8"] | None, threads: int) -> Deployment:
    """funasr_onnx's knobs: batch 1, 4 threads, every graph optimisation, no arena; segments as they are."""
    plain = given_deployment("onnx-int8" if weights else "onnx-fp32", ncpu=threads)
    return plain.model_copy(update={"chunking": Chunking(method="none", window_s=None)})


def segments_of(seconds: float, window_s: float, path: Path) -> list[float]:
    """Speech of the ``long`` profile in segments of varied length (0.4–1 × window); their durations."""
    workload = build_workload(
        load_profile("long"), seed=0, shards=1, recordings_per_shard=2, cache=cache_dir() / "workloads"
    )
    samples = np.concatenate([read_audio(Path(item.path)) for item in workload.shards[0].recordings])
    generator = random.Random(0)
    cuts, at = [], 0
    while at < min(len(samples), seconds * 16000):
        length = int(generator.uniform(0.4, 1.0) * window_s * 16000)
        cuts.append(samples[at : at + length])
        at += length
    np.savez(path, **{f"s{index:04d}": cut for index, cut in enumerate(cuts)})  # type: ignore[arg-type]
    return [len(cut) / 16000 for cut in cuts]


def setups(folder: Path, options: argparse.Namespace) -> list[SideSpec]:
    info, threads = resolve_model(options.model), options.threads
    fp32, _ = ensure_artifact(info, ArtifactSpec("onnx-fp32"))
    int8, _ = ensure_artifact(info, ArtifactSpec("onnx-int8", "u8"))
    peer_model = folder / "peer-model"
    shutil.copytree(info.path, peer_model, ignore=shutil.ignore_patterns("model.pt"))
    (peer_model / "model.onnx").symlink_to(fp32.path)
    (peer_model / "model_quant.onnx").symlink_to(int8.path)
    common = {"segments": str(folder / "segments.npz"), "architecture": info.architecture, "threads": threads}
    peers = funasr_onnx_python()

    def autotune(name: str, weights: Literal["u8"] | None) -> SideSpec:
        artifact = int8.path if weights else fp32.path
        deployment = ours(weights, threads).model_dump(mode="json")
        setup = {"side": "autotune", "model": info.path, "artifact": artifact, "deployment": deployment}
        return SideSpec(name, OURS, {**common, **setup})

    def funasr_onnx(name: str, quantized: bool) -> SideSpec:
        setup = {"side": "funasr_onnx", "model": str(peer_model), "quantize": quantized}
        return SideSpec(name, peers, {**common, **setup})

    sides = [autotune("autotune fp32", None), funasr_onnx("funasr_onnx fp32", False)]
    if options.int8:
        sides += [autotune("autotune int8", "u8"), funasr_onnx("funasr_onnx int8", True)]
    if options.automodel:
        for ncpu in dict.fromkeys((4, probe_hardware().usable_cores)):
            setup = {"side": "AutoModel", "model": info.path, "ncpu": ncpu}
            sides.append(SideSpec(f"AutoModel ncpu={ncpu}", OURS, {**common, **setup}))
    return sides


def run_once(
    sides: dict[str, Side], segments: int, rounds: int, generator: random.Random
) -> tuple[dict[str, list[float]], dict[str, list[str]]]:
    """Every side, every segment, ``rounds`` times: seconds and texts."""
    seconds: dict[str, list[float]] = {side: [] for side in sides}
    texts: dict[str, list[str]] = {side: [] for side in sides}
    for _ in range(rounds):
        for segment in range(segments):
            for side in generator.sample(list(sides), len(sides)):
                time.sleep(0.2)  # threads of the side before stop spinning
                answer = sides[side].run([segment])
                seconds[side].append(answer["seconds"])
                texts[side] += answer["texts"]
    return seconds, texts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="random:sensevoice-small")
    parser.add_argument("--seconds", type=float, default=20.0, help="audio a round")
    parser.add_argument("--window", type=float, default=15.0, help="longest segment in seconds")
    parser.add_argument("--starts", type=int, default=36, help="how often all sides are started anew")
    parser.add_argument("--rounds", type=int, default=1, help="rounds a start")
    parser.add_argument("--threads", type=int, default=4, help="of both ONNX Runtimes; 4 is funasr_onnx's default")
    parser.add_argument("--int8", action="store_true", help="compare FunASR's int8 too")
    parser.add_argument("--automodel", action="store_true", help="compare AutoModel too")
    parser.add_argument("--out", type=Path, help="write the JSON here")
    options = parser.parse_args()
    generator = random.Random(1)
    seconds: list[dict[str, list[float]]] = []
    texts: list[dict[str, list[str]]] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        durations = segments_of(options.seconds, options.window, folder / "segments.npz")
        told = setups(folder, options)
        for done in range(options.starts):
            sides = {spec.name: Side(spec) for spec in told}
            for child in sides.values():
                child.wait_until_ready()
            took, got = run_once(sides, len(durations), options.rounds, generator)
            seconds.append(took)
            texts.append(got)
            for child in sides.values():
                child.close()
            audio_s = sum(durations) * options.rounds
            line = ", ".join(f"{side} {audio_s / sum(values):.2f}" for side, values in took.items())
            print(f"start {done + 1}/{options.starts}: RTFx {line}", file=sys.stderr, flush=True)
    report(options, durations, seconds, texts)


def report(
    options: argparse.Namespace,
    durations: list[float],
    seconds: list[dict[str, list[float]]],
    texts: list[dict[str, list[str]]],
) -> None:
    audio_s = sum(durations) * options.rounds * options.starts
    result: dict[str, Any] = {
        "model": options.model,
        "date": datetime.now(UTC).date().isoformat(),
        "hardware": probe_hardware().describe(),
        "versions": {
            **{package: version(package) for package in ("funasr", "torch", "onnxruntime-gpu", "numpy")},
            "peer": FUNASR_ONNX,
            "python": platform.python_version(),
        },
        "audio_s": sum(durations),
        "segments": len(durations),
        "starts": options.starts,
        "rounds": options.rounds,
        "threads": options.threads,
        "rtfx": {side: audio_s / sum(sum(took[side]) for took in seconds) for side in seconds[0]},
        "ratio": {},
        "same_text": {},
    }
    sides = list(seconds[0])
    pairs = [("autotune fp32", other) for other in sides if not other.startswith("autotune") and "int8" not in other]
    pairs += [("autotune int8", "funasr_onnx int8")] if "autotune int8" in sides else []
    for mine, other in pairs:
        each = [[b / a for a, b in zip(took[mine], took[other], strict=True)] for took in seconds]
        ratio = geometric_interval([geometric_interval(ratios).median for ratios in each])
        result["ratio"][f"{mine} / {other}"] = [ratio.median, ratio.low, ratio.high]
        same = [a.strip() == b.strip() for got in texts for a, b in zip(got[mine], got[other], strict=True)]
        result["same_text"][f"{mine} / {other}"] = f"{sum(same)}/{len(same)}"
    text = json.dumps(result, indent=2, ensure_ascii=False)
    print(text)
    if options.out:
        options.out.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
