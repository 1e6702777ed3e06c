"""autotune's recognizer against funasr_onnx at its own default knobs, and against FunASR's AutoModel, interleaved.

    python benchmarks/peers.py --model random:sensevoice-small

Same model, same segments, same ONNX file, same ONNX Runtime version. funasr_onnx lives in an environment of its own
(made on the first run): it would install a second ONNX Runtime beside onnxruntime-gpu. Every side runs every segment
once a round, one segment after another, in random order of sides, in processes that were loaded and warmed up before.
Ratios are paired by segment and round: four threads on fewer cores are so noisy that longer pairs show nothing.
Run it alone on the machine: with a busy neighbour the intervals tell, but the figures mean nothing.
"""

import argparse
import json
import os
import platform
import random
import shutil
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import numpy as np

from autotune.audio.profile import load_profile
from autotune.audio.reading import read_audio
from autotune.audio.workload import build_workload
from autotune.deployment import Batch, Chunking, Deployment
from autotune.hardware import probe_hardware
from autotune.metrics import geometric_interval
from autotune.models import ensure_artifact, resolve_model
from autotune.paths import cache_dir

PEER = "funasr-onnx==0.4.3"
HERE = Path(__file__).parent


def peer_python() -> Path:
    """The peer's own environment, with the same ONNX Runtime version as ours."""
    folder = cache_dir() / "peers" / PEER.replace("==", "-")
    python = folder / "bin" / "python"
    if not (folder / ".complete").exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
        runtime = f"onnxruntime=={version('onnxruntime-gpu')}"
        subprocess.run([str(python), "-m", "pip", "install", "-q", PEER, runtime], check=True)
        (folder / ".complete").touch()
    return python


class Side:
    """A child that holds a loaded model."""

    def __init__(self, name: str, python: Path, setup: dict[str, Any]) -> None:
        self.name = name
        read_fd, write_fd = os.pipe()
        self.process = subprocess.Popen(
            [str(python), str(HERE / "peer_side.py"), str(write_fd)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=(write_fd,),
            text=True,
        )
        os.close(write_fd)
        self._reply = os.fdopen(read_fd)
        self._send(setup)
        self._receive()

    def run(self, segment: int) -> tuple[float, str]:
        self._send({"segment": segment})
        answer = self._receive()
        return answer["seconds"], answer["text"]

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        self._reply.close()

    def _send(self, message: dict[str, Any]) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(message) + "\n")
        self.process.stdin.flush()

    def _receive(self) -> dict[str, Any]:
        line = self._reply.readline()
        if not line:
            raise SystemExit(f"{self.name} ended with status {self.process.wait()}")
        answer: dict[str, Any] = json.loads(line)
        return answer


def ours(weights: Literal["u8"] | None, threads: int) -> Deployment:
    """funasr_onnx's knobs: batch 1, 4 threads, every graph optimisation."""
    return Deployment(
        format="onnx-int8" if weights else "onnx-fp32",
        weights=weights,
        engine="onnxruntime",
        device="cpu",
        instances=1,
        intra_op_num_threads=threads,
        inter_op_num_threads=1,
        session_options={
            "graph_optimization_level": "all",
            "execution_mode": "sequential",
            "allow_spinning": True,
        },
        provider_options={},
        batch=Batch(max_size=1, max_audio_s=300.0, max_wait_s=0.0),
        chunking=Chunking(method="none", window_s=None),
        language="auto",
        text_norm="woitn",
    )


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


def start(folder: Path, model: str | None, *, quantize: bool) -> dict[str, Side]:
    info = resolve_model(model)
    fp32, _ = ensure_artifact(info, "onnx-fp32", None)
    int8, _ = ensure_artifact(info, "onnx-int8", "u8")
    peer_model = folder / "peer-model"
    shutil.copytree(info.path, peer_model, ignore=shutil.ignore_patterns("model.pt"))
    (peer_model / "model.onnx").symlink_to(fp32.path)
    (peer_model / "model_quant.onnx").symlink_to(int8.path)
    common = {"segments": str(folder / "segments.npz"), "architecture": info.architecture}
    here, peers = Path(sys.executable), peer_python()
    cores = probe_hardware().usable_cores

    def autotune(weights: Literal["u8"] | None) -> dict[str, Any]:
        artifact = int8.path if weights else fp32.path
        deployment = ours(weights, 4).model_dump(mode="json")
        return {**common, "side": "autotune", "model": info.path, "artifact": artifact, "deployment": deployment}

    def funasr_onnx(quantized: bool) -> dict[str, Any]:
        return {**common, "side": "funasr_onnx", "model": str(peer_model), "quantize": quantized}

    sides = {
        "autotune fp32": Side("autotune fp32", here, autotune(None)),
        "funasr_onnx fp32": Side("funasr_onnx fp32", peers, funasr_onnx(False)),
    }
    if quantize:
        sides["autotune int8"] = Side("autotune int8", here, autotune("u8"))
        sides["funasr_onnx int8"] = Side("funasr_onnx int8", peers, funasr_onnx(True))
    for ncpu in dict.fromkeys((4, cores)):
        name = f"AutoModel ncpu={ncpu}"
        sides[name] = Side(name, here, {**common, "side": "AutoModel", "model": info.path, "ncpu": ncpu})
    return sides


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="random:sensevoice-small")
    parser.add_argument("--seconds", type=float, default=60.0, help="audio a round")
    parser.add_argument("--window", type=float, default=15.0, help="longest segment in seconds")
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--int8", action="store_true", help="compare FunASR's int8 too")
    parser.add_argument("--out", type=Path, help="write the JSON here")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        durations = segments_of(options.seconds, options.window, folder / "segments.npz")
        sides = start(folder, options.model, quantize=options.int8)
        seconds: dict[str, list[float]] = {side: [] for side in sides}
        texts: dict[str, list[str]] = {side: [] for side in sides}
        generator = random.Random(1)
        for done in range(options.rounds):
            for segment in range(len(durations)):
                for side in generator.sample(list(sides), len(sides)):
                    time.sleep(0.2)  # threads of the side before stop spinning
                    took, text = sides[side].run(segment)
                    seconds[side].append(took)
                    texts[side].append(text)
            audio_s = sum(durations) * (done + 1)
            line = ", ".join(f"{side} {audio_s / sum(seconds[side]):.2f}" for side in sides)
            print(f"round {done + 1}/{options.rounds}: RTFx {line}", file=sys.stderr, flush=True)
        for child in sides.values():
            child.close()
    report(options, durations, seconds, texts)


def report(
    options: argparse.Namespace, durations: list[float], seconds: dict[str, list[float]], texts: dict[str, list[str]]
) -> None:
    each = durations * options.rounds
    hardware = probe_hardware()
    result: dict[str, Any] = {
        "model": options.model,
        "date": datetime.now(UTC).date().isoformat(),
        "hardware": hardware.describe(),
        "versions": {
            **{package: version(package) for package in ("funasr", "torch", "onnxruntime-gpu", "numpy")},
            "peer": PEER,
            "python": platform.python_version(),
        },
        "audio_s": sum(durations),
        "segments": len(durations),
        "rounds": options.rounds,
        "rtfx": {},
        "ratio": {},
        "same_text": {},
    }
    for side, values in seconds.items():
        result["rtfx"][side] = sum(each) / sum(values)
    pairs = [("autotune fp32", other) for other in seconds if other not in ("autotune fp32", "autotune int8")]
    pairs += [("autotune int8", "funasr_onnx int8")] if "autotune int8" in seconds else []
    for mine, other in pairs:
        ratio = geometric_interval([b / a for a, b in zip(seconds[mine], seconds[other], strict=True)])
        result["ratio"][f"{mine} / {other}"] = [ratio.median, ratio.low, ratio.high]
        same = sum(a.strip() == b.strip() for a, b in zip(texts[mine], texts[other], strict=True))
        result["same_text"][f"{mine} / {other}"] = f"{same}/{len(each)}"
    text = json.dumps(result, indent=2, ensure_ascii=False)
    print(text)
    if options.out:
        options.out.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
