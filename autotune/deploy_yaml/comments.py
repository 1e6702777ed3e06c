"""What the keys of ``deploy.yaml`` mean: the one table that its YAML comments come from."""

from __future__ import annotations

from typing import Any

from autotune.accuracy import FP32_PYTORCH, FUNASRS_DEFAULT
from autotune.baselines import USUALLY, Compared

__all__ = ["COMMENTS", "comment_for"]

COMMENTS: dict[str, str | dict[Any, str]] = {
    "recommended": {
        "tuned": "better than FunASR's default with 95 % confidence, and all that was asked for; see reason",
        "baseline": "nothing else was both better with 95 % confidence and all that was asked for",
    },
    "goal": "what it was chosen by",
    "goal.objective": {
        "throughput": "the highest RTFx",
        "latency": "the shortest 95th percentile",
        "streams": "the most streams in real time, which is the highest RTFx",
    },
    "goal.p95_latency_s": "within so many seconds 95 % of the texts must be there; null for no limit",
    "goal.max_memory_bytes": "largest peak of resident memory; null for no limit",
    "goal.max_cer_increase": "largest increase of the error rate over the reference, absolute; null for no limit",
    "goal.accuracy_reference": {
        "baseline": "FunASR's default, or fp32 PyTorch if that is less accurate",
        "fp32": "fp32 PyTorch alone",
    },
    "model.weights": {
        "pretrained": "published weights",
        "random": "seeded random weights: the real model's speed, but its text means nothing",
        "embedded": "autotune's own small model",
        "onnx": "an ONNX file as it was given: there is no model.pt",
    },
    "audio_profile.audio_s": "seconds of audio in the workload",
    "audio_profile.shards": "parts of like composition that it is cut into",
    "audio_profile.hearing_s": "seconds of audio by whose texts it was judged, untimed; 0: by those of the workload",
    "audio_profile.hot_words": "hot words of every recording: these, or so many that were made up",
    "audio_profile.arrival": {
        "offline": "all recordings at once; latency counts from the start of the whole",
        "closed": "one recording after another; latency is per recording",
        "open": "requests at scheduled times; latency counts from the scheduled arrival",
        "realtime": "streams at the speed of speech; latency counts from the last spoken sample",
    },
    "hardware.fingerprint": "equal on identical machines",
    "hardware.usable_cores": "by CPU affinity and cgroup quota",
    "deployment": "complete: nothing is left to a default that may change",
    "deployment.format": {
        "onnx-fp32": "exported to ONNX, 32-bit floats",
        "onnx-int8": "exported to ONNX, weights of matrix products in 8 bits",
        "onnx-fp16": "exported to ONNX, 16-bit floats",
        "onnx-bf16": "exported to ONNX, 16-bit brain floats",
        "openvino-int8": "matrix products of weights and activations in 8 bits, ranges calibrated on audio",
        "torchscript-fp32": "exported to TorchScript, 32-bit floats",
        "torchscript-bf16": "exported to TorchScript, 16-bit brain floats",
        "torchscript-fp16": "exported to TorchScript, 16-bit floats",
        "pytorch-fp32": "the model directory itself, nothing exported",
    },
    "deployment.weights": {
        "u8": "unsigned 8-bit weights: FunASR's own recipe",
        "s8": "signed 8-bit weights: lets ONNX Runtime use VNNI or AMX",
        "s7": "signed 7-bit weights: for CPUs with neither VNNI nor AMX, whose 8-bit sums saturate",
        None: "only 8-bit formats have a weight type",
    },
    "deployment.fp32_share": "what causes this share of the error of 8 or 16 bits stays in 32 bits; 0: nothing does",
    "deployment.graph": {
        "funasr": "FunASR's own operators, scores of every frame as output",
        "lean": "the same sums: one additive mask, the argmax inside",
        "fused": "as lean, with ONNX Runtime's attention operator",
        "unmasked": "as fused, without masks: batches are split by length",
        None: "nothing is exported",
    },
    "deployment.engine": {
        "onnxruntime": "ONNX Runtime",
        "tensorrt": "ONNX Runtime's TensorRT provider",
        "openvino": "OpenVINO",
        "torchscript": "LibTorch executes the exported graph",
        "pytorch": "PyTorch executes the model's own code",
        "funasr": "FunASR's AutoModel, a whole path by itself",
        "fake": "no runtime at all, for tests",
    },
    "deployment.device": "cpu, or cuda:N for the N-th GPU",
    "deployment.instances": "engines side by side, each with its own threads",
    "deployment.intra_op_num_threads": "threads inside one operator, of each instance",
    "deployment.inter_op_num_threads": "threads across operators, of each instance",
    "deployment.readers": "threads that decode, find speech and compute features, each for a recording",
    "deployment.pinning": {
        True: "each instance's threads keep to CPUs of their own",
        False: "the system places threads",
    },
    "deployment.session_options": "the engine's own options",
    "deployment.session_options.graph_optimization_level": "how far ONNX Runtime rewrites the graph at load",
    "deployment.session_options.execution_mode": {
        "sequential": "one operator at a time",
        "parallel": "independent operators at once",
    },
    "deployment.session_options.allow_spinning": {
        True: "idle threads spin: quicker to wake, takes CPU from neighbours",
        False: "idle threads sleep",
    },
    "deployment.session_options.dynamic_block_base": "threads share an operator's work in shrinking blocks; 0: equally",
    "deployment.session_options.denormal_as_zero": "numbers next to zero count as zero",
    "deployment.session_options.cpu_mem_arena": "memory is kept for the next batch",
    "deployment.session_options.mapped_weights": {
        True: "instances and processes share one copy of the weights",
        False: "each session has weights of its own",
    },
    "deployment.session_options.inference_precision": {
        "f32": "32-bit floats",
        "bf16": "16-bit brain floats, native to this CPU",
        "f16": "16-bit floats, native to this CPU",
    },
    "deployment.session_options.precision": {
        "fp32": "32-bit floats",
        "bf16-autocast": "matrix products in 16-bit brain floats",
        "bf16": "everything in 16-bit brain floats",
        "fp16": "everything in 16-bit floats",
    },
    "deployment.session_options.compile": "torch.compile's mode, for batches padded to few shapes; none: as it is",
    "deployment.session_options.cuda_graphs": "a batch is one launch, recorded for each of few shapes",
    "deployment.session_options.optimize": {
        "none": "the graph as it was traced",
        "freeze": "weights are constants of the graph",
        "inference": "frozen, and weights in the layouts of the CPU's kernels",
    },
    "deployment.session_options.hyper_threading": "whether logical cores count",
    "deployment.session_options.model_cache": "compiled model kept on disk: quicker starts",
    "deployment.provider_options": "options of the execution provider; empty on the CPU",
    "deployment.batch": "how segments are grouped",
    "deployment.batch.max_size": "most segments in one batch",
    "deployment.batch.max_audio_s": "most padded seconds in one batch (size × longest)",
    "deployment.batch.max_wait_s": "longest time a request waits for others; unused when all audio is there",
    "deployment.batch.pad_to_s": "batches are padded to a multiple of this for few distinct shapes; 0: no such padding",
    "deployment.chunking": "how recordings are cut into segments",
    "deployment.chunking.method": {
        "none": "recordings are not cut",
        "fixed": "windows of fixed length",
        "vad": "at pauses, found by a voice activity detector",
        "funasr": "inside FunASR's own path",
    },
    "deployment.chunking.window_s": "fixed: longest window in seconds",
    "deployment.chunking.overlap_s": "fixed: seconds that neighbouring windows share; its text is kept once",
    "deployment.chunking.vad_model": "vad: silero, or the directory of an FSMN-VAD model",
    "deployment.chunking.max_segment_s": "vad: longest segment in seconds",
    "deployment.chunking.merge_s": "vad: neighbours are merged while together no longer than this",
    "deployment.chunking.min_silence_s": "vad: shorter silence doesn't end a segment",
    "deployment.chunking.pad_s": "vad: seconds kept around speech",
    "deployment.language": "SenseVoice's language prompt; Paraformer ignores it",
    "deployment.text_norm": {
        "withitn": "SenseVoice writes numbers and punctuation; Paraformer ignores it",
        "woitn": "SenseVoice writes words as spoken; Paraformer ignores it",
    },
    "deployment.punctuation": "FunASR's punctuation model for finished texts; null for none",
    "deployment.punctuation.model": "its directory, or random weights of its shape",
    "deployment.punctuation.format": {
        "onnx-fp32": "exported to ONNX, 32-bit floats",
        "onnx-int8": "exported to ONNX, weights of matrix products in 8 bits",
        "pytorch-fp32": "inside FunASR's own path",
    },
    "deployment.punctuation.threads": "threads of its own, on the CPU",
    "measurement": "interleaved blocks of fresh processes, alternating with the baseline",
    "measurement.rtfx": "audio seconds / processing seconds, higher is better; 95 % interval",
    "measurement.latency_s": "seconds until the text of a whole recording or request",
    "measurement.peak_memory_bytes": "peak resident memory of the process; GPU memory is not in it",
    "measurement.load_s": "cold start: from an empty process to a loaded recognizer",
    "measurement.accuracy": {
        "checked": "see cer",
        "not checked": "random weights or nothing said: only the speed was measured",
    },
    "measurement.cer": "errors of the texts as fractions, pooled over the blocks; 95 % intervals by distinct clip",
    "measurement.cer.unit": {
        "cer": "character error rate against transcripts",
        "wer": "word error rate against transcripts",
        "disagreement": "no transcripts: errors against the text of fp32 PyTorch on the same audio",
    },
    "measurement.cer.baseline": "of FunASR's default on the same audio",
    "measurement.cer.baseline_increase": "over FunASR's default, paired by clip",
    "measurement.cer.reference": "of fp32 PyTorch, batch 1, cut at the true boundaries",
    "measurement.cer.increase": "over fp32 PyTorch, paired by clip",
    "measurement.cer.allowed": "largest increase; null for no limit",
    "measurement.cer.verdict": {
        "passed": "the whole interval is allowed, over what goal.accuracy_reference names",
        "rejected": "the estimate itself is not allowed",
        "unclear": "the interval's upper end is not allowed: this audio is too little to decide",
    },
    "measurement.cer.visible": "the smallest increase that this audio shows with 80 % probability",
    "measurement.cer.more_audio": "times as many distinct clips are needed to see what is allowed; null if these do",
    "measurement.cer.clips": "distinct clips; a recurring clip is no new evidence",
    "measurement.cer.tokens": "what was counted",
    "measurement.stages": "core-seconds (CPU time of all threads) per second of audio",
    "measurement.padding_share": "padded seconds without audio / all padded seconds",
    "measurement.new_shapes": "batches of a size × length that the engine had not run before",
    "measurement.new_shapes.share": "of all batches",
    "measurement.new_shapes.cost": "engine time above that of known shapes, as a fraction of it; null if unknown",
    "measurement.noise": "what else the machine did meanwhile, in the worst block",
    "measurement.stability": "of the worst block: stable, or noisy because of what, and what to do",
    "measurement.blocks": "how often it was measured, each time in a fresh process",
    "baseline": "the better of FunASR's AutoModel with ncpu=4 (its default) and with all usable cores",
    "baseline.rtfx": "measured in the same run",
    "baseline.cer": "as measurement.cer; the baseline itself is exempt from the guard",
    "baseline.other": "the one that was slower in the study, so not measured again",
    "speedup": "against the baseline, paired by block: of RTFx, or of 1 / p95 latency (objective latency); 95 %",
    "artifact": "the exported file that was measured",
    "artifact.calibration": "audio that the activations' ranges were taken from; null where they are not static",
    "artifact.calibration.source": {
        "workload": "segments of the audio that was measured",
        "embedded": "autotune's own clips",
    },
    "artifact.calibration.sha256": "names the samples, kept in the cache: loading needs them to export again",
    "vad_sha256": "the FSMN-VAD that was measured, by its settings, weights and CMVN; loading needs the same",
    "punctuation_times": "what deployment.punctuation's format and threads were chosen by; onnx-fp32, one thread first",
    "service_times": "what the parts take on this machine, by autotune measure --service-times",
    "service_times.engines": "deployment.instances",
    "service_times.points": "rows, seconds of each with padding, busy engines, median wall seconds, how many batches",
    "service_times.spread": "a batch's seconds over the median of its shape: quantiles from the least to the largest",
    "service_times.reading": "core-seconds beside the engine, for a second of audio",
    "service_times.beside": "how fast batches and reading are while both run, relative to an equal part of the cores",
    "service_times.spin_s": "core-seconds that each waiting thread of an engine spins after a batch",
    "service_times.products": "share of a batch's seconds in matrix products, by the engine's profiler",
    "service_times.recordings": "segments that it cuts: first second, seconds, by which second it has been read",
    "service_times.spoken": "the same while they are spoken: by which second each has ended for sure",
    "service_times.server": "what `autotune serve` adds: CPU seconds and waits of a request, cores of a stream",
    "service_times.carried": "by simulation, on a slow day: what plans go by, and how many streams a server takes in",
    "probe": "how fast this machine's parts are, by autotune probe: what plans for other machines go by",
    "predicted": "these figures were never measured: they are what the parts measured elsewhere promise here",
    "artifact.parity": "largest score difference / largest score, against the PyTorch model",
}
"""Dotted path → its comment, or a comment for each of its values where these differ in meaning."""


_OF_FILES = {
    "baseline": "the better of the given file as funasr_onnx runs it with 4 threads (its default) and with all cores",
    "artifact.parity": "largest score difference / largest score, against what reference names",
}
"""Comments of a model that is ONNX files alone, where more than what it is compared with has another name."""


def comment_for(path: str, value: Any, names: Compared = USUALLY) -> str | None:
    """The comment of the key at a dotted path, if it has one; ``names`` is what the file's study compared with."""
    text = COMMENTS.get(path)
    if isinstance(text, dict):
        text = text.get(value) if isinstance(value, str | bool | None) else None
    if text is None or names == USUALLY:
        return text
    return _OF_FILES.get(path, text).replace(FUNASRS_DEFAULT, names.baseline).replace(FP32_PYTORCH, names.reference)
