"""The whole path audio → text, used by trials and by servers alike."""

from autotune.recognizer.dispatcher import RecognizerStats
from autotune.recognizer.recognizer import AudioInput, Recognizer, Segment, Transcript

__all__ = ["AudioInput", "Recognizer", "RecognizerStats", "Segment", "Transcript"]
