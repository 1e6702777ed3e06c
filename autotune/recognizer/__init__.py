"""The whole path audio → text, used by trials and by servers alike."""

from autotune.recognizer.intake import AudioInput
from autotune.recognizer.recognizer import Recognizer, warmup_shapes
from autotune.recognizer.stats import RecognizerStats
from autotune.recognizer.stream import RecognizerStream, RecordingRequest
from autotune.recognizer.transcript import Segment, Transcript

__all__ = [
    "AudioInput",
    "Recognizer",
    "RecognizerStats",
    "RecognizerStream",
    "RecordingRequest",
    "Segment",
    "Transcript",
    "warmup_shapes",
]
