"""Which operators a deployment's engine spends its seconds in: the child's side."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import Field

from autotune.documents import parse_document
from autotune.measure.model_request import ModelRequest

if TYPE_CHECKING:
    from autotune.isolation.child import Emit

__all__ = ["OperatorsRequest", "operators_task"]

RUNS = 3


class OperatorsRequest(ModelRequest):
    """A deployment, and the batch whose operators are timed."""

    audio: str
    """What its rows hold, again and again."""
    rows: int = Field(ge=1)
    padded_s: float = Field(gt=0)
    """Seconds of each row."""


def operators_task(payload: dict[str, Any], emit: Emit) -> dict[str, Any]:
    """Takes an OperatorsRequest as JSON; returns ``operators``, a list of OperatorTime as JSON."""
    from autotune.audio import read_audio
    from autotune.audio.reading import SAMPLE_RATE_HZ
    from autotune.engines import EngineInput, EngineRequest, load_engine
    from autotune.engines.operators import operator_times
    from autotune.model_directory import ModelDirectory
    from autotune.recognizer.frontend import Frontend, padded

    request = parse_document(payload, OperatorsRequest, where="the request for operators")
    paths = (request.artifact_path, request.punctuation_path)
    artifact, punctuation = (None if path is None else Path(path) for path in paths)
    model = ModelDirectory.open(Path(request.model_path))
    asked = EngineRequest(request.deployment, model, artifact, punctuation)
    engine = load_engine(asked)
    emit("loaded", {})
    waveform = np.resize(read_audio(Path(request.audio)), round(request.padded_s * SAMPLE_RATE_HZ))
    if engine.consumes == "waveforms":
        batch = EngineInput(waveforms=(waveform,) * request.rows)
    else:
        features, lengths = padded([Frontend(model.frontend).features(waveform)] * request.rows, 1)
        batch = EngineInput(features, lengths)
    times = operator_times(engine, asked, batch, RUNS)
    return {"operators": [one.model_dump(mode="json") for one in times]}
