"""Whether a deployment's texts are still good: normalisation, counting, judging, and the guard."""

from autotune.accuracy.guard import ALLOWED_INCREASE, Guard, ReferenceName, Verdict, describe_accuracy
from autotune.accuracy.judge import Judge, ReferenceTexts
from autotune.accuracy.record import FP32_PYTORCH, FUNASRS_DEFAULT, Accuracy

__all__ = [
    "ALLOWED_INCREASE",
    "FP32_PYTORCH",
    "FUNASRS_DEFAULT",
    "Accuracy",
    "Guard",
    "Judge",
    "ReferenceName",
    "ReferenceTexts",
    "Verdict",
    "describe_accuracy",
]
