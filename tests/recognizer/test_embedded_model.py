"""The embedded model hears what the embedded clips say, and FunASR's AutoModel hears the same."""

import json
import re
import subprocess
import sys
from pathlib import Path

import jiwer
import pytest

from autotune.audio.embedded import embedded_clips
from autotune.models import resolve_model
from autotune.recognizer import Recognizer
from tests.recognizer.test_recognizer_text import AUTOMODEL, deployment, recognizer

CLIPS = sorted((Path(__file__).parents[2] / "autotune" / "audio" / "clips").glob("*.ogg"))


@pytest.fixture(scope="module")
def automodel_texts() -> list[str]:
    request = {"models": {"embedded": resolve_model(None).path}, "clips": [str(clip) for clip in CLIPS]}
    done = subprocess.run(
        [sys.executable, "-c", AUTOMODEL], input=json.dumps(request), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    texts: list[str] = json.loads(done.stdout.rpartition("RESULT")[2])["embedded"]
    return texts


def raw_texts(ours: Recognizer) -> list[str]:
    return ["".join(segment.raw for segment in result.segments) for result in ours.transcribe(CLIPS)]


def test_onnx_gives_automodels_text_on_every_clip(automodel_texts: list[str]) -> None:
    with recognizer(resolve_model(None), deployment()) as ours:
        assert raw_texts(ours) == automodel_texts


def test_it_hears_what_is_said(automodel_texts: list[str]) -> None:
    assert len(CLIPS) == len(embedded_clips()) >= 300
    said = [re.sub(r"\W", "", clip.text) for clip in embedded_clips()]
    heard = [re.sub(r"<\|.*?\|>", "", text) for text in automodel_texts]
    assert jiwer.cer(said, heard) < 0.06
    assert all(text.startswith("<|zh|><|NEUTRAL|><|Speech|><|woitn|>") for text in automodel_texts)
