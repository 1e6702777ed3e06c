"""Which punctuation a study's deployments have: the model, and its format and threads, settled by measurement."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from autotune.deployment import Deployment, Punctuation
from autotune.errors import DocumentError, ModelError
from autotune.hardware import HardwareProfile
from autotune.measure.punctuation import PunctuationTimes, measure_punctuation
from autotune.models import PunctuationModel, punctuation_files, resolve_punctuation
from autotune.reporting import Reporter, bytes_text, progress
from autotune.space.capabilities import Target

if TYPE_CHECKING:
    from autotune.jobs.options import TuneOptions

__all__ = ["ChosenPunctuation", "choose_punctuation", "fastest"]

SAME_MARKS = 0.99
"""Least share of words with the mark of onnx-fp32: some 14 words of 100 have a mark."""
GAIN = 0.9
"""Most of onnx-fp32's time with one thread with which another is chosen: less is noise, and that is the simplest."""


@dataclass(frozen=True)
class ChosenPunctuation:
    """The punctuation of every deployment that is searched."""

    model: PunctuationModel
    stage: Punctuation
    times: tuple[PunctuationTimes, ...] = ()
    """What it was chosen by; none where nothing was left to choose."""

    def given_to(self, baseline: Deployment) -> Deployment:
        """FunASR's default punctuates by FunASR's own class; a given file's stand-in as simply as can be."""
        whole = baseline.engine == "funasr"
        threads = baseline.intra_op_num_threads if whole else 1
        stage = self.model.stage("pytorch-fp32" if whole else "onnx-fp32", threads=threads)
        return baseline.model_copy(update={"punctuation": stage})


def choose_punctuation(
    options: TuneOptions, target: Target, hardware: HardwareProfile, objective: str, reporter: Reporter
) -> ChosenPunctuation | None:
    """The punctuation that was asked for, exported already: whether that works must not be found out by trials.

    Other servers, and studies that several machines share, have onnx-fp32 with one thread: the former read the model's
    own files, and each node of the latter would choose for itself.

    Args:
        options: of the study.
        target: what will run the winner.
        hardware: the machine.
        objective: what is optimised; for latency the wall seconds of one text count, else core-seconds.
        reporter: gets what was chosen and why.

    Raises:
        DocumentError: the target doesn't punctuate.
        ModelError, ArtifactError: the model can't be had, or not exported.
        TrialError: it doesn't run.
    """
    if options.punc_model is None:
        return None
    if not target.punctuates:
        raise DocumentError(
            f"--punc-model must go with a target that punctuates by it, but {target.name} ({target.runs}) doesn't."
        )
    on_event = progress(reporter, "preparing the punctuation model")
    model = resolve_punctuation(options.punc_model, on_event=on_event)
    simplest = model.stage("onnx-fp32", threads=1)
    punctuation_files(simplest, on_event=on_event)
    reporter.note(f"punctuation by {model.id}; accuracy is judged on the texts before it")
    if target.backends or options.storage is not None:
        return ChosenPunctuation(model, simplest)
    reporter.working("timing the punctuation model")
    try:
        times = measure_punctuation(model, hardware, on_event=progress(reporter, "timing the punctuation model"))
    except OSError as error:
        raise ModelError(f"The punctuation model's times must be kept in the cache, but: {error}.") from error
    trained = not model.id.startswith("random:")
    best = fastest(times, alone=objective == "latency", least_same=SAME_MARKS if trained else 0.0)
    reporter.note(_sentence(best, times[0], trained=trained))
    return ChosenPunctuation(model, model.stage(best.format, best.threads), times)


def fastest(times: Sequence[PunctuationTimes], *, alone: bool, least_same: float) -> PunctuationTimes:
    """The row that takes least, or the first where that isn't clearly slower.

    Args:
        times: onnx-fp32 with one thread first.
        alone: whether the wall seconds of a text alone count, instead of core-seconds.
        least_same: least share of the first's marks that a row must have.
    """

    def cost(row: PunctuationTimes) -> float:
        return row.word_s if alone else row.core_word_s

    best = min((row for row in times if row is times[0] or row.same_marks >= least_same), key=cost)
    return best if cost(best) <= GAIN * cost(times[0]) else times[0]


def _sentence(best: PunctuationTimes, simplest: PunctuationTimes, *, trained: bool) -> str:
    figures = (
        f"{best.word_s * 1e3:.3g} ms and {best.core_word_s * 1e3:.3g} core-ms a word, {bytes_text(best.memory_bytes)}"
    )
    words = f"punctuation runs as {best.format} with {best.threads} thread(s): {figures}"
    if best is simplest:
        return words
    before = f"onnx-fp32 with one thread: {simplest.word_s * 1e3:.3g} and {simplest.core_word_s * 1e3:.3g}"
    marks = f"{best.same_marks:.1%} of words have the same mark" if trained else "random weights: marks mean nothing"
    return f"{words} ({before}; {marks})"
