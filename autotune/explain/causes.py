"""Causes: rules over what a run showed, each a hypothesis that names the deployment without its cause."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from autotune.deployment import SILERO, Deployment
from autotune.explain.ran import Ran
from autotune.formats import GRAPHS_OF_FORMAT
from autotune.hardware import DOT_PRODUCTS, HardwareProfile
from autotune.measure.interference import disturbances

__all__ = ["Hypothesis", "changed", "hypotheses"]

LONG_ROW_S = 60.0
"""Rows from which on attention, whose cost grows with their square, may weigh."""
PADDING = 0.1
"""Share of padding from which on it may matter."""
BUSY_READER = 0.7
"""Share of the time that a reader works, from which on engines may have to wait for it."""
NEW_SHAPES, NEW_COST = 0.05, 0.2
"""Share of batches of new shapes, and how much longer they take, from which on both together may matter."""
BATCH = 8
"""Rows of the batches that are tried beside batches of one."""
SEGMENT_S = 30.0


@dataclass(frozen=True)
class Hypothesis:
    """What may make a deployment slow."""

    name: str
    """As a subject: ``<name> costs …`` or ``<name> isn't it``."""
    seen: str
    """The facts that suggest it."""
    cause: str
    """Why it would cost time."""
    remedy: str
    """What to set instead."""
    without: Deployment | None
    """The deployment with the cause taken away, and nothing else changed; None: that can't be run."""


Rule = Callable[[Ran, HardwareProfile], Hypothesis | None]


def hypotheses(ran: Ran, hardware: HardwareProfile) -> list[Hypothesis]:
    """What may make a deployment slow, by its settings and what its run showed."""
    return [found for rule in _RULES if (found := rule(ran, hardware)) is not None]


def changed(deployment: Deployment, **changes: Any) -> Deployment | None:
    """The deployment with other settings, ``batch__max_size`` for those of a section; None if that can't be."""
    data = deployment.model_dump(mode="json")
    for dotted, value in changes.items():
        *parents, last = dotted.split("__")
        section = data
        for parent in parents:
            section = section[parent]
        section[last] = value
    try:
        other = Deployment.model_validate(data)
    except ValidationError:
        return None
    return None if other == deployment else other


def _crowded(ran: Ran, hardware: HardwareProfile) -> Hypothesis | None:
    deployment, cores = ran.deployment, hardware.usable_cores
    if deployment.device != "cpu" or deployment.threads <= cores:
        return None
    waited = ran.noise.get("waited_share")
    told = "" if waited is None else f"; threads that could run waited for a CPU for {waited:.0%} of all CPU time"
    option = "ncpu" if deployment.engine == "funasr" else "intra_op_num_threads"
    fewer = max(1, cores // deployment.instances)
    return Hypothesis(
        "having more threads than cores",
        f"{deployment.threads} threads on {_cores(cores)}{told}",
        "the threads of an operator wait for each other at its end, and one that has no CPU keeps all of them waiting",
        f"{option} {fewer}",
        changed(deployment, instances=min(deployment.instances, cores), intra_op_num_threads=fewer),
    )


def _together(ran: Ran, hardware: HardwareProfile) -> Hypothesis | None:
    deployment = ran.deployment
    threads, instances = deployment.intra_op_num_threads, deployment.threads
    if deployment.engine == "funasr" or threads == 1 or deployment.threads > hardware.usable_cores:
        return None
    seen, cause = f"{threads} threads in each operator", "threads meet after every operator, however small it is"
    if others := disturbances(ran.noise):
        seen += f", while {', '.join(other.describe() for other in others)}"
        cause = "an operator ends with its slowest thread, so a neighbour on one CPU slows the threads on all of them"
    return Hypothesis(
        "sharing each operator among threads",
        seen,
        cause,
        f"{instances} instances of one thread",
        changed(deployment, instances=instances, intra_op_num_threads=1),
    )


def _spinning(ran: Ran, _: HardwareProfile) -> Hypothesis | None:
    deployment = ran.deployment
    if deployment.intra_op_num_threads == 1 or deployment.session_options.get("allow_spinning") is not True:
        return None
    return Hypothesis(
        "spinning",
        "threads without work spin instead of sleeping",
        "they take CPU time from readers and other engines",
        "session_options.allow_spinning false",
        changed(deployment, session_options__allow_spinning=False),
    )


def _unsigned(ran: Ran, hardware: HardwareProfile) -> Hypothesis | None:
    deployment = ran.deployment
    units = sorted(DOT_PRODUCTS & set(hardware.isa))
    if deployment.weights != "u8" or deployment.engine != "onnxruntime" or not units:
        return None
    return Hypothesis(
        "having unsigned weights",
        f"weights u8 on a CPU with {', '.join(units)}",
        "ONNX Runtime multiplies unsigned weights without this CPU's 8-bit dot products",
        "weights s8",
        changed(deployment, weights="s8"),
    )


def _scores(ran: Ran, _: HardwareProfile) -> Hypothesis | None:
    deployment = ran.deployment
    if deployment.graph != "funasr" or "lean" not in GRAPHS_OF_FORMAT[deployment.format]:
        return None
    decode = ran.core_s.get("decode")
    told = "" if decode is None else f"; decoding takes {1000 * decode:.2g} core-ms a second of audio"
    return Hypothesis(
        "FunASR's graph",
        f"it gives the scores of every token at every position, which are copied out and searched{told}",
        "scores are a thousand times as large as ids, and its masks are tensors of rows × frames × frames",
        "graph lean or fused",
        changed(deployment, graph="lean"),
    )


def _uncut(ran: Ran, _: HardwareProfile) -> Hypothesis | None:
    deployment = ran.deployment
    if deployment.chunking.method != "none" or (ran.longest_s is not None and ran.longest_s < LONG_ROW_S):
        return None
    told = "" if ran.longest_s is None else f" rows of up to {ran.longest_s:.0f} s"
    return Hypothesis(
        "not cutting recordings",
        f"whole recordings are{told or ' rows of any length'}",
        "attention compares all frames with all others, so its cost and memory grow with the square of a row's length",
        f"chunking vad, segments up to {SEGMENT_S:.0f} s",
        changed(
            deployment,
            chunking={
                "method": "vad",
                "vad_model": SILERO,
                "max_segment_s": SEGMENT_S,
                "merge_s": 0.0,
                "min_silence_s": 0.2,
                "pad_s": 0.1,
            },
        ),
    )


def _padding(ran: Ran, _: HardwareProfile) -> Hypothesis | None:
    deployment = ran.deployment
    if ran.padding_share is None or ran.padding_share < PADDING or deployment.batch.max_size == 1:
        return None
    return Hypothesis(
        "padding",
        f"{ran.padding_share:.0%} of what batches hold is padding",
        "the engine computes for it as for speech",
        "smaller batches",
        changed(deployment, batch__max_size=1),
    )


def _batching(ran: Ran, _: HardwareProfile) -> Hypothesis | None:
    deployment = ran.deployment
    if deployment.engine == "funasr" or deployment.batch.max_size > 1:
        return None
    return Hypothesis(
        "having no batches",
        "each segment runs by itself",
        "rows of a batch share what a call costs, and load weights once",
        f"batch.max_size {BATCH}",
        changed(deployment, batch__max_size=BATCH, batch__max_audio_s=BATCH * SEGMENT_S),
    )


def _reading(ran: Ran, hardware: HardwareProfile) -> Hypothesis | None:
    deployment = ran.deployment
    if deployment.engine == "funasr" or ran.reader_busy < BUSY_READER:
        return None
    more = min(hardware.usable_cores, 2 * deployment.readers)
    return Hypothesis(
        "having too few readers",
        f"a reader decodes, finds speech and computes features for {min(1.0, ran.reader_busy):.0%} of the time",
        "engines wait for what it hasn't read yet",
        f"readers {more}" if more > deployment.readers else "fixed windows, or a faster way to find speech",
        changed(deployment, readers=more),
    )


def _shapes(ran: Ran, _: HardwareProfile) -> Hypothesis | None:
    deployment, cost = ran.deployment, ran.new_shapes.cost
    searched = deployment.provider_options.get("cudnn_conv_algo_search")
    if searched in ("EXHAUSTIVE", "DEFAULT"):
        seen = "" if cost is None else f"; batches of a new shape took {1 + cost:.3g} × as long as those of a known one"
        return Hypothesis(
            f"cudnn_conv_algo_search {searched}",
            f"{ran.new_shapes.share:.0%} of the batches had a shape that the engine hadn't run before{seen}",
            "cuDNN tries its algorithms for every convolution again whenever a length is new, and speech always is",
            "cudnn_conv_algo_search HEURISTIC",
            changed(deployment, provider_options__cudnn_conv_algo_search="HEURISTIC"),
        )
    if ran.new_shapes.share < NEW_SHAPES or (cost or 0.0) < NEW_COST:
        return None
    return Hypothesis(
        "meeting new shapes",
        f"{ran.new_shapes.share:.0%} of the batches had a shape that the engine hadn't run before, and took "
        f"{1 + (cost or 0.0):.3g} × as long",
        "the runtime plans and allocates anew for every shape",
        "batch.pad_to_s 5",
        changed(deployment, batch__pad_to_s=5.0),
    )


def _elsewhere(ran: Ran, _: HardwareProfile) -> Hypothesis | None:
    deployment = ran.deployment
    on_cpu, everywhere = ran.nodes.get("CPUExecutionProvider", 0), sum(ran.nodes.values())
    if deployment.device == "cpu" or on_cpu * 100 < everywhere or not everywhere:
        return None
    return Hypothesis(
        "leaving nodes on the CPU",
        f"{on_cpu} of {everywhere} nodes run on the CPU",
        "each crossing copies tensors between GPU and CPU, and waits for both",
        "graph fused",
        changed(deployment, graph="fused"),
    )


def _starting(ran: Ran, _: HardwareProfile) -> Hypothesis | None:
    """Only where starting takes as long as some minutes of audio."""
    worth_s = ran.load_s * ran.rtfx
    if ran.load_s < 10.0 or worth_s < 60.0:
        return None
    return Hypothesis(
        "starting",
        f"loading takes {ran.load_s:.0f} s, as long as {worth_s / 60:.0f} minutes of audio; it isn't in the RTFx",
        "a process that transcribes little and ends pays it every time",
        "a server (autotune serve), or all recordings in one process",
        None,
    )


_RULES: tuple[Rule, ...] = (
    _crowded,
    _together,
    _spinning,
    _unsigned,
    _scores,
    _uncut,
    _shapes,
    _elsewhere,
    _reading,
    _padding,
    _batching,
    _starting,
)


def _cores(count: int) -> str:
    return "1 usable core" if count == 1 else f"{count} usable cores"
