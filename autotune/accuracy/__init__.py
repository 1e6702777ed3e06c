"""Whether a deployment's texts are still good: normalisation, counting, the reference, and the guard."""

from autotune.accuracy.guard import ALLOWED_INCREASE, Guard, Verdict, describe_accuracy
from autotune.accuracy.judge import Judge, ReferenceTexts
from autotune.accuracy.reference import ReferenceRequest, reference_texts
from autotune.measure.accuracy import Accuracy

__all__ = [
    "ALLOWED_INCREASE",
    "Accuracy",
    "Guard",
    "Judge",
    "ReferenceRequest",
    "ReferenceTexts",
    "Verdict",
    "describe_accuracy",
    "reference_texts",
]
