"""Settings of FunASR's FSMN-VAD, which its servers read from the VAD's own ``config.yaml`` alone."""

from __future__ import annotations

import shlex

from autotune.deployment import Chunking
from autotune.render.rendering import comments

__all__ = ["VAD_FRAGMENT", "vad_checks", "vad_fragment", "vad_settings"]

VAD_FRAGMENT = "vad-config.yaml"


def vad_settings(chunking: Chunking) -> dict[str, int]:
    """Settings in the VAD's ``model_conf``, in milliseconds; empty without a VAD."""
    if chunking.method != "vad":
        return {}
    assert chunking.max_segment_s is not None
    assert chunking.min_silence_s is not None
    return {
        "max_single_segment_time": round(chunking.max_segment_s * 1000),
        "max_end_silence_time": round(chunking.min_silence_s * 1000),
    }


def vad_fragment(chunking: Chunking) -> dict[str, str]:
    """The part of ``config.yaml`` that holds the measured settings, as a file; none without a VAD."""
    settings = vad_settings(chunking)
    if not settings:
        return {}
    head = comments((f"Of {chunking.vad_model}/config.yaml, as measured; times in ms. Other keys stay as they are.",))
    keys = "".join(f"    {key}: {value}\n" for key, value in settings.items())
    return {VAD_FRAGMENT: f"{head}model_conf:\n{keys}"}


def vad_checks(chunking: Chunking) -> list[str]:
    """Shell lines that refuse to start with other settings than the measured ones."""
    config = shlex.quote(f"{chunking.vad_model}/config.yaml")
    lines = []
    for key, value in vad_settings(chunking).items():
        lines += [
            f"if ! grep -Eq '^ *{key}: *{value} *(#.*)?$' {config}; then",
            f"  echo {config} 'must hold model_conf.{key}: {value}, as measured ({VAD_FRAGMENT}).' >&2",
            "  exit 1",
            "fi",
        ]
    return lines
