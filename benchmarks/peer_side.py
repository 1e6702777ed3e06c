"""One side of a benchmark, in a process of its own: loads once, then answers each request about some of its segments.

Runs in the peers' own environments too, so it imports nothing of autotune unless its side is autotune's.
Protocol: one JSON line on stdin a request, one on the given descriptor a reply. The first request is the setup:
``side``, ``segments`` (an npz of waveforms), ``warmup`` (indices), and what that side needs. Then each asks for
``segments`` (indices) and gets ``seconds``, ``texts``, ``memory_bytes``, and what else that side has to tell.
"""

import json
import os
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

Setup = dict[str, Any]
Waveforms = list[np.ndarray]
Answer = Callable[[list[int]], dict[str, Any]]
Transcribe = Callable[[list[int]], list[str]]


def timed(transcribe: Transcribe) -> Answer:
    def answer(indices: list[int]) -> dict[str, Any]:
        started = time.perf_counter()
        texts = transcribe(indices)
        return {"seconds": time.perf_counter() - started, "texts": texts}

    return answer


def autotune_side(setup: Setup, waveforms: Waveforms) -> Answer:
    """All segments at once, batched as the deployment says."""
    from autotune.deployment import Deployment
    from autotune.measure.counters import peak_memory_bytes
    from autotune.model_directory import ModelDirectory
    from autotune.recognizer import Recognizer

    artifact = Path(setup["artifact"]) if setup["artifact"] else None
    recognizer = Recognizer.load(
        Deployment.model_validate(setup["deployment"]), ModelDirectory.open(Path(setup["model"])), artifact
    )

    def transcribe(indices: list[int]) -> list[str]:
        results = recognizer.transcribe([waveforms[index] for index in indices])
        return ["".join(part.raw for part in result.segments) for result in results]

    def answer(indices: list[int]) -> dict[str, Any]:
        recognizer.reset_stats()
        answered = timed(transcribe)(indices)
        return {**answered, "stages_s": recognizer.stats().stages_s, "memory_bytes": peak_memory_bytes()}

    return answer


def funasr_onnx_side(setup: Setup, waveforms: Waveforms) -> Answer:
    import funasr_onnx

    batch = setup.get("batch", 1)
    options = {
        "quantize": setup["quantize"],
        "intra_op_num_threads": setup["threads"],
        "batch_size": batch,
    }
    # It takes one array or a list of files.
    inputs: list[Any] = waveforms if batch == 1 else wav_files(waveforms, Path(setup["folder"]))
    if setup["architecture"] == "SenseVoiceSmall":
        sense_voice = funasr_onnx.SenseVoiceSmall(setup["model"], **options)

        def heard(content: Any) -> list[str]:
            return list(sense_voice(content, language="auto", textnorm="woitn"))
    else:
        paraformer = funasr_onnx.Paraformer(setup["model"], **options)

        def heard(content: Any) -> list[str]:
            found = [result.get("preds", "") for result in paraformer(content)] or [""]
            return [preds[0] if isinstance(preds, tuple) else preds for preds in found]

    if batch == 1:
        return timed(lambda indices: [heard(inputs[index])[0] for index in indices])
    return timed(lambda indices: heard([inputs[index] for index in indices]))


def wav_files(waveforms: Waveforms, folder: Path) -> list[str]:
    import soundfile

    paths = [str(folder / f"{os.getpid()}-{index}.wav") for index in range(len(waveforms))]
    for path, waveform in zip(paths, waveforms, strict=True):
        soundfile.write(path, waveform, 16000, subtype="FLOAT")
    return paths


def sherpa_onnx_side(setup: Setup, waveforms: Waveforms) -> Answer:
    import sherpa_onnx

    options = {"tokens": setup["tokens"], "num_threads": setup["threads"]}
    if setup["architecture"] == "SenseVoiceSmall":
        recognizer = sherpa_onnx.OfflineRecognizer.from_sense_voice(
            model=setup["model"], language="auto", use_itn=False, **options
        )
    else:
        recognizer = sherpa_onnx.OfflineRecognizer.from_paraformer(paraformer=setup["model"], **options)

    def transcribe(indices: list[int]) -> list[str]:
        texts = []
        for start in range(0, len(indices), setup["batch"]):
            streams = []
            for index in indices[start : start + setup["batch"]]:
                streams.append(recognizer.create_stream())
                streams[-1].accept_waveform(16000, waveforms[index])
            recognizer.decode_streams(streams)
            texts += [stream.result.text for stream in streams]
        return texts

    return timed(transcribe)


def automodel_side(setup: Setup, waveforms: Waveforms) -> Answer:
    from funasr import AutoModel

    model = AutoModel(
        model=setup["model"],
        ncpu=setup["ncpu"],
        device="cpu",
        disable_update=True,
        disable_pbar=True,
        log_level="ERROR",
        # A config.yaml may name code to be run, and more models.
        trust_remote_code=False,
        vad_model=None,
        punc_model=None,
        spk_model=None,
    )

    def transcribe(indices: list[int]) -> list[str]:
        return [
            (model.generate(input=waveforms[index], language="auto", use_itn=False) or [{"text": ""}])[0]["text"]
            for index in indices
        ]

    return timed(transcribe)


def layers_side(setup: Setup, waveforms: Waveforms) -> Answer:
    from benchmarks.gemm import linear_layers

    return lambda indices: {
        "layers": linear_layers(Path(setup["model"]), [waveforms[index] for index in indices]),
        "audio_s": sum(len(waveforms[index]) for index in indices) / 16000,
    }


def gemm_side(setup: Setup, waveforms: Waveforms) -> Answer:
    """Seconds that the linear layers of these segments would take at the rate of matrix products alone."""
    from benchmarks.gemm import seconds_per_audio_second

    def answer(indices: list[int]) -> dict[str, Any]:
        audio_s = sum(len(waveforms[index]) for index in indices) / 16000
        each_s = seconds_per_audio_second(setup["layers"], setup["precision"], setup["threads"])
        return {"seconds": each_s * audio_s, "texts": []}

    return answer


SIDES: dict[str, Callable[[Setup, Waveforms], Answer]] = {
    "autotune": autotune_side,
    "funasr_onnx": funasr_onnx_side,
    "sherpa_onnx": sherpa_onnx_side,
    "AutoModel": automodel_side,
    "layers": layers_side,
    "gemm": gemm_side,
}


def peak_memory_bytes() -> int:
    """See ``autotune/measure/counters.py``, which peers' environments don't have."""
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
        return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM:"))
    except (OSError, StopIteration):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def main() -> None:
    reply = os.fdopen(int(sys.argv[1]), "w", buffering=1)
    setup = json.loads(sys.stdin.readline())
    answer = SIDES[setup["side"]](setup, list(np.load(setup["segments"]).values()))
    for _ in range(2):  # TorchScript compiles after its first run
        answer(setup.get("warmup", [0]))
    reply.write(json.dumps({"memory_bytes": peak_memory_bytes()}) + "\n")
    for line in sys.stdin:
        answered = answer(json.loads(line)["segments"])
        reply.write(json.dumps({"memory_bytes": peak_memory_bytes(), **answered}) + "\n")


main()
