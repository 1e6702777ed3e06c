"""Whether a deployment's texts are still good: normalisation, counting, judging, and the guard."""

from autotune.accuracy.guard import ALLOWED_INCREASE, Guard, ReferenceName, Verdict, describe_accuracy
from autotune.accuracy.judge import Judge, ReferenceTexts
from autotune.accuracy.record import Accuracy

__all__ = [
    "ALLOWED_INCREASE",
    "Accuracy",
    "Guard",
    "Judge",
    "ReferenceName",
    "ReferenceTexts",
    "Verdict",
    "describe_accuracy",
]
