"""Runs made by hand: requests with known latencies, and reports of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from autotune.loadgen.client import SentRequest, Status
from autotune.loadgen.document import LoadAudio, LoadProvenance, LoadReport, LoadRun
from autotune.loadgen.driver import Run
from autotune.loadgen.statistics import figures
from autotune.loadgen.verdict import reasons_against

BRIEF = """
schema: autotune/audio-profile/v1
name: brief
description: Utterances of one to two seconds, arriving at random.
duration_s: {distribution: uniform, low: 1, high: 2}
pause_s: {low: 0.03, high: 0.2}
noise_snr_db: {low: 25, high: 35}
speech_share: 0.8
arrival: {process: poisson, load: 60}
shard: {recordings: 3}
objective: throughput
slo: {p95_latency_s: 1.0}
"""


def request(
    at_s: float, latency_s: float = 0.1, *, status: Status = "ok", lag_s: float = 0.0, recording: str = "r0"
) -> SentRequest:
    return SentRequest(
        recording=recording,
        audio_s=2.0,
        scheduled_s=at_s,
        counted_from_s=at_s,
        sent_s=at_s + lag_s,
        settled_s=at_s + latency_s,
        lag_s=lag_s,
        status=status,
        detail="" if status == "ok" else "HTTP 429",
        text="好" if status == "ok" else None,
    )


def steady(latencies_s: Sequence[float], *, rate: float = 10.0) -> Run:
    """One request every ``1 / rate`` seconds; infinite latencies are time-outs after 30 s."""
    requests = tuple(
        request(number / rate, 30.0, status="timeout") if latency == math.inf else request(number / rate, latency)
        for number, latency in enumerate(latencies_s)
    )
    return Run(requests=requests, period_s=len(latencies_s) / rate, client_cores=0.1)


def load_run(run: Run, *, load: float = 10.0, slo_s: float | None = 1.0) -> LoadRun:
    found = figures(run, slo_s)
    reasons = reasons_against(found, interrupted=run.interrupted)
    return LoadRun(
        load=load,
        seed=0,
        period_s=run.period_s,
        figures=found,
        texts=None,
        verdict="INVALID" if reasons else "VALID",
        reasons=reasons,
        requests=run.requests,
    )


def load_report(*runs: LoadRun, slo_s: float | None = 1.0, **changes: Any) -> LoadReport:
    content: dict[str, Any] = {
        "url": "http://here:8000/v1/audio/transcriptions",
        "protocol": "http",
        "local": False,
        "process": "poisson",
        "unit": "requests/s",
        "p95_latency_s": slo_s,
        "timeout_s": 30.0,
        "audio": LoadAudio(profile="brief", seed=0, source="embedded", sha256="0" * 64, recordings=12, audio_s=18.0),
        "verdict": runs[-1].verdict,
        "reasons": runs[-1].reasons,
        "capacity": None,
        "runs": runs,
        "provenance": LoadProvenance(autotune="0", command="autotune load", date=datetime.now(UTC), python="3"),
    }
    return LoadReport(**content | changes)
