"""What follows from the frontier's raw seconds: RTFx, ratios, stage shares, and which row wins."""

from collections.abc import Sequence
from typing import Any

from autotune.accuracy import ALLOWED_INCREASE
from autotune.intervals import Interval, geometric_interval
from autotune.models import DEFAULT_MODEL

__all__ = [
    "CaseResult",
    "Row",
    "accurate",
    "beside_engine",
    "complete",
    "digits",
    "judged_by",
    "named",
    "ratio",
    "rtfx",
    "share_of_bound",
    "stages",
    "winner",
]


Row = dict[str, Any]
CaseResult = dict[str, Any]


def rtfx_of_rounds(case: CaseResult, row: Row) -> list[float]:
    return [audio_s / seconds for audio_s, seconds in zip(case["round_audio_s"], row["seconds"], strict=True)]


def interval(values: Sequence[float]) -> Interval:
    """Geometric mean with its 95 % interval; one value has none."""
    return geometric_interval(values) if len(values) > 1 else Interval(values[0], values[0], values[0])


def rtfx(case: CaseResult, row: Row) -> Interval:
    return interval(rtfx_of_rounds(case, row))


def complete(case: CaseResult) -> list[Row]:
    """Rows that were measured in every round, the fastest first."""
    whole = [row for row in case["rows"] if row["error"] is None and row["seconds"]]
    return sorted(whole, key=lambda row: -rtfx(case, row).median)


def named(case: CaseResult, name: str) -> Row | None:
    return next((row for row in complete(case) if row["name"] == name), None)


def judged_by(case: CaseResult, cases: Sequence[CaseResult]) -> CaseResult | None:
    """The case that says which rows are accurate: of a model whose weights are random, the embedded model's."""
    if case["accuracy"]["unit"] != "disagreement":
        return case
    return next((one for one in cases if one["model"] == DEFAULT_MODEL and one["profile"] == case["profile"]), None)


def accurate(row: Row, judging: CaseResult | None) -> bool | None:
    """Whether its error rate is at most 0.5 points above fp32 PyTorch's; None where nothing tells."""
    found = None if judging is None else named(judging, row["name"])
    if found is None or found["accuracy"] is None:
        return None
    return bool(found["accuracy"]["increase"][0] <= ALLOWED_INCREASE)


def winner(case: CaseResult, cases: Sequence[CaseResult]) -> Row | None:
    """Our fastest row that isn't known to be inaccurate."""
    judging = judged_by(case, cases)
    ours = [row for row in complete(case) if row["kind"] == "autotune"]
    return next((row for row in ours if accurate(row, judging) is not False), None)


def ratio(case: CaseResult, row: Row, other: Row) -> Interval:
    """How many times as fast as another, paired by round."""
    pairs = zip(rtfx_of_rounds(case, row), rtfx_of_rounds(case, other), strict=True)
    return interval([mine / theirs for mine, theirs in pairs])


def stages(case: CaseResult, row: Row) -> dict[str, float]:
    """Core-seconds for each second of audio, all rounds together."""
    audio_s = sum(case["round_audio_s"])
    return {stage: sum(one[stage] for one in row["stages_s"]) / audio_s for stage in row["stages_s"][0]}


def beside_engine(case: CaseResult, row: Row) -> float:
    """Share of the core-seconds that isn't the engine's."""
    spent = stages(case, row)
    return 1 - spent["engine"] / sum(spent.values())


def share_of_bound(case: CaseResult, row: Row) -> Interval | None:
    """The engine's speed on all cores, from its core-seconds, as a share of its precision's GEMM bound, by round."""
    bound = named(case, f"GEMM bound {row['precision']}")
    if bound is None or not row["stages_s"]:
        return None
    shares = []
    for audio_s, spent, bound_s in zip(case["round_audio_s"], row["stages_s"], bound["seconds"], strict=True):
        shares.append((case["usable_cores"] * audio_s / spent["engine"]) / (audio_s / bound_s))
    return interval(shares)


def digits(value: float) -> str:
    """Three of them, and those before the point."""
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"
