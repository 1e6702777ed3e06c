"""Writing a survey as an audio profile: YAML with comments, read back before anybody gets it."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

from autotune.audio.profile import LONGEST_S, SHORTEST_S, AudioProfile
from autotune.audio.survey.measured import Spread, Survey
from autotune.documents import parse_document

__all__ = ["profile_text"]

SHARD_S = 300.0
"""Seconds of audio that one shard should hold."""
SPEECH_SHARES = (0.2, 0.95)
LEAST_PAUSE_S = 0.03
DEFAULT_PAUSES_S = Spread(p10=0.1, median=0.4, p90=1.5)
DEFAULT_SNR_DB = Spread(p10=15, median=25, p90=35)

TEMPLATE = """\
# Measured by autotune profile: {files}, {hours}.
# Use it as --audio-profile: alone for synthetic recordings like these, with --audio for the files themselves.
schema: autotune/audio-profile/v1
name: {name}
description: {description}
duration_s:
  distribution: empirical
  # the shortest, then what 1 %, 2 %, … of the files don't exceed, the longest
  quantiles_s: [
{quantiles}
  ]
pause_s: {{low: {pause_low}, high: {pause_high}}}  # {pause_comment}
noise_snr_db: {{low: {snr_low}, high: {snr_high}}}  # {snr_comment}
speech_share: {share}  # {share_comment}
# How they arrive can't be measured from files. Set what is true for you:
#   {{process: offline}}                 all there already, as in an archive
#   {{process: closed}}                  the next one comes when the last one's text is there
#   {{process: poisson, load: 12}}       at random; load: seconds of audio offered each second
#   {{process: realtime, streams: 8}}    sent while they are spoken, so many at once
arrival: {{process: offline}}
shard: {{recordings: {recordings}}}  # about {shard_s:.0f} s of audio
objective: throughput  # or latency, streams
slo: null  # or {{p95_latency_s: 1.0}}
"""


def profile_text(survey: Survey) -> str:
    """The YAML of an audio profile with the survey's durations, pauses, noise and speech share.

    What a profile doesn't allow (speech share outside 0.2–0.95, recordings shorter than 0.5 s) is set to the nearest
    that it does, and its comment says what was measured.
    """
    share = min(max(survey.speech_share, SPEECH_SHARES[0]), SPEECH_SHARES[1])
    pauses, snr = survey.pause_s or DEFAULT_PAUSES_S, survey.snr_db or DEFAULT_SNR_DB
    mean_s = survey.audio_s / survey.files
    recordings = min(max(round(SHARD_S / mean_s), 2), 24)
    hours = f"{survey.audio_s / 3600:.1f} h" if survey.audio_s >= 3600 else f"{survey.audio_s:.0f} s"
    files = f"{survey.files} file{'' if survey.files == 1 else 's'}"
    text = TEMPLATE.format(
        files=files,
        hours=hours,
        name=_scalar(_name(survey.source)),
        description=_scalar(f"Like {files} ({hours}) in {Path(survey.source).name}."),
        quantiles=_rows(_durations(survey)),
        pause_low=f"{min(max(pauses.p10, LEAST_PAUSE_S), 3600):.3f}",
        pause_high=f"{min(max(pauses.p90, LEAST_PAUSE_S), 3600):.3f}",
        pause_comment="10 % and 90 % of the pauses in the speech" if survey.pause_s else "not measured: no pause found",
        snr_low=f"{_decibels(snr.p10):.0f}",
        snr_high=f"{_decibels(snr.p90):.0f}",
        snr_comment="10 % and 90 % of the files" if survey.snr_db else "not measured: no file has speech and pauses",
        share=f"{share:.3f}",
        share_comment="what Silero VAD calls speech, threshold 0.5"
        if share == survey.speech_share
        else f"measured {survey.speech_share:.3f}; a profile's is in 0.2..0.95",
        recordings=recordings,
        shard_s=recordings * mean_s,
    )
    parse_document(yaml.safe_load(text), AudioProfile, where="the profile just written")
    return text


def _durations(survey: Survey) -> list[float]:
    return [min(max(value, SHORTEST_S), LONGEST_S) for value in survey.duration_quantiles_s]


def _rows(values: list[float]) -> str:
    shown = [f"{value:.3f}" for value in values]
    return "\n".join(f"    {', '.join(shown[first : first + 10])}," for first in range(0, len(shown), 10))


def _decibels(value: float) -> float:
    return min(max(value, 0.0), 100.0)


def _name(source: str) -> str:
    """A profile's name made of the directory's or manifest's: only letters that such a name may have."""
    path = Path(source)
    stem = path.stem if path.suffix else path.name
    return re.sub(r"[^A-Za-z0-9._-]+", "-", stem).strip("-._")[:64] or "own-audio"


def _scalar(text: str) -> str:
    """A text as a YAML scalar in one line, quoted if need be."""
    dumped: str = yaml.safe_dump(text, allow_unicode=True, width=10_000)
    return dumped.removesuffix("...\n").rstrip("\n")
