"""The whole path audio → text, used by trials and by servers alike."""

from autotune.recognizer.hot_words import made_up_hot_words
from autotune.recognizer.recognizer import Recognizer
from autotune.recognizer.stats import BatchFacts, RecognizerStats
from autotune.recognizer.transcript import Segment, Transcript
from autotune.recognizer.warming import warmup_shapes
from autotune.recognizer.words import Word

__all__ = [
    "BatchFacts",
    "Recognizer",
    "RecognizerStats",
    "Segment",
    "Transcript",
    "Word",
    "made_up_hot_words",
    "warmup_shapes",
]
