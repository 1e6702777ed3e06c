"""One deployment's engine on batches of known, alternating and new lengths: the child of ``seed_question.py``."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from autotune.deployment import Deployment
from autotune.engines import EngineInput, EngineRequest, load_engine
from autotune.engines.operators import copies_of, operator_times
from autotune.model_directory import ModelDirectory

__all__ = ["PATTERNS", "frames_of", "time_task"]

PATTERNS = ("known", "alternating", "new")
"""``known``: all batches are equally long; ``alternating``: one of two lengths; ``new``: a length that never was."""


def time_task(payload: dict[str, Any], emit: Callable[[str, dict[str, Any]], None]) -> dict[str, Any]:
    """Load the engine and time it.

    Args:
        payload: deployment, model_path, artifact_path (or None), seconds (of each row), rows (sizes of batches),
            runs (of each pattern).
        emit: gets a ``cell`` event for each finished combination, so that what was timed survives a later failure.

    Returns:
        load_s, engine (its facts), cells (rows, pattern, cold_s: the first run of the pattern, steady_s: the others),
        copies (of ONNX Runtime: bytes between host and device in a run), operators (its ten most expensive).
    """
    deployment = Deployment.model_validate(payload["deployment"])
    model = ModelDirectory.open(Path(payload["model_path"]))
    artifact = Path(payload["artifact_path"]) if payload["artifact_path"] else None
    request = EngineRequest(deployment, model, artifact)
    started = time.perf_counter()
    engine = load_engine(request)
    load_s = time.perf_counter() - started
    frames = round(payload["seconds"] / model.frontend.frame_s)
    cells = []
    for rows in payload["rows"]:
        for pattern in PATTERNS:
            lengths = itertools.islice(frames_of(pattern, frames), payload["runs"])
            times = [_timed(engine, _batch(rows, length, model.frontend.feature_dim)) for length in lengths]
            cells.append({"rows": rows, "pattern": pattern, "cold_s": times[0], "steady_s": times[1:]})
            emit("cell", {"text": f"{rows} rows, {pattern} lengths: {times[0]:.3f} s, then {min(times[1:]):.3f} s"})
    found: dict[str, Any] = {"load_s": load_s, "engine": asdict(engine.facts()), "cells": cells}
    batch = _batch(payload["rows"][0], frames, model.frontend.feature_dim)
    operators = operator_times(engine, request, batch, 2)
    found["operators"] = [item.model_dump() for item in operators[:10]]
    found["copies"] = copies_of(operators)
    engine.close()
    return found


def frames_of(pattern: str, frames: int) -> Iterator[int]:
    """Lengths of one batch after the other, near ``frames``."""
    match pattern:
        case "known":
            yield from itertools.repeat(frames)
        case "alternating":
            yield from itertools.cycle((frames, frames - frames // 10))
        case _:
            # 7 has no common divisor with the span, so that none comes twice before all have been.
            span = max(8, frames // 10) | 1
            span += span % 7 == 0
            yield from (frames - 1 - 7 * number % span for number in itertools.count())


def _batch(rows: int, frames: int, feature_dim: int) -> EngineInput:
    noise = np.random.default_rng(frames).standard_normal((rows, frames, feature_dim), dtype=np.float32)
    return EngineInput(features=noise, lengths=np.full(rows, frames, np.int32))


def _timed(engine: Any, batch: EngineInput) -> float:
    started = time.perf_counter()
    engine.run(batch)
    return time.perf_counter() - started
