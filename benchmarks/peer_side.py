"""One side of ``peers.py``, in a process of its own: loads once, then transcribes the same segments at each request.

Runs in the peer's own environment too, so it imports nothing of autotune unless its side is autotune's.
Protocol: one JSON line on stdin a request, one on the given descriptor a reply.
"""

import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

Transcribe = Callable[[list[np.ndarray]], list[str]]


def autotune_side(setup: dict[str, Any]) -> Transcribe:
    from pathlib import Path

    from autotune.deployment import Deployment
    from autotune.model_directory import ModelDirectory
    from autotune.recognizer import Recognizer

    artifact = Path(setup["artifact"]) if setup["artifact"] else None
    recognizer = Recognizer.load(
        Deployment.model_validate(setup["deployment"]), ModelDirectory.open(Path(setup["model"])), artifact
    )

    def transcribe(waveforms: list[np.ndarray]) -> list[str]:
        return ["".join(part.raw for part in result.segments) for result in recognizer.transcribe(waveforms)]

    return transcribe


def funasr_onnx_side(setup: dict[str, Any]) -> Transcribe:
    import funasr_onnx

    options = {"quantize": setup["quantize"], "intra_op_num_threads": setup["threads"]}
    if setup["architecture"] == "SenseVoiceSmall":
        sense_voice = funasr_onnx.SenseVoiceSmall(setup["model"], **options)

        def transcribe(waveforms: list[np.ndarray]) -> list[str]:
            return [sense_voice(waveform, language="auto", textnorm="woitn")[0] for waveform in waveforms]

        return transcribe
    paraformer = funasr_onnx.Paraformer(setup["model"], **options)

    def transcribe_paraformer(waveforms: list[np.ndarray]) -> list[str]:
        texts = []
        for waveform in waveforms:
            predicted = paraformer(waveform)[0]["preds"]
            texts.append(predicted[0] if isinstance(predicted, tuple) else predicted)
        return texts

    return transcribe_paraformer


def automodel_side(setup: dict[str, Any]) -> Transcribe:
    from funasr import AutoModel

    model = AutoModel(
        model=setup["model"],
        ncpu=setup["ncpu"],
        device="cpu",
        disable_update=True,
        disable_pbar=True,
        log_level="ERROR",
    )

    def transcribe(waveforms: list[np.ndarray]) -> list[str]:
        return [
            (model.generate(input=waveform, language="auto", use_itn=False) or [{"text": ""}])[0]["text"]
            for waveform in waveforms
        ]

    return transcribe


SIDES = {"autotune": autotune_side, "funasr_onnx": funasr_onnx_side, "AutoModel": automodel_side}


def main() -> None:
    reply = os.fdopen(int(sys.argv[1]), "w", buffering=1)
    setup = json.loads(sys.stdin.readline())
    segments = list(np.load(setup["segments"]).values())
    transcribe = SIDES[setup["side"]](setup)
    transcribe(segments[:1])  # warm-up
    reply.write(json.dumps({"ready": True}) + "\n")
    for line in sys.stdin:
        index = json.loads(line)["segment"]
        started = time.perf_counter()
        (text,) = transcribe([segments[index]])
        seconds = time.perf_counter() - started
        reply.write(json.dumps({"seconds": seconds, "text": text}) + "\n")


main()
