"""``autotune profile``: what the user's own audio is like, as an audio profile."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from autotune.cli.options import JsonOption
from autotune.options import CHANNEL, Channel

if TYPE_CHECKING:
    from autotune.audio.survey import Spread, Survey

__all__ = ["profile"]


def profile(
    audio: Annotated[
        Path,
        typer.Argument(
            metavar="DIR_OR_MANIFEST",
            help="A directory of audio, one file, or a manifest: .jsonl (audio, text) or wav.scp.",
        ),
    ],
    out: Annotated[Path | None, typer.Option(help="Write an audio profile (YAML) for --audio-profile.")] = None,
    plot: Annotated[
        Path | None, typer.Option(help="Draw durations and speech as a PNG picture; needs the extra [plot].")
    ] = None,
    channel: Annotated[Channel, typer.Option(help=CHANNEL.help)] = "mix",
    seed: Annotated[int, typer.Option(min=0, help="Seed of the sample that is analysed.")] = 0,
    json_: JsonOption = False,
) -> None:
    """Measure your own audio (durations, speech, pauses, loudness, formats) and write it as an audio profile.

    Durations and formats are of all files; speech, pauses and levels are of a random sample of at most 30 minutes.
    """
    import json

    import yaml

    from autotune.audio.survey import check_can_draw, draw_survey, profile_text, survey_audio
    from autotune.cli.terminal import TerminalReporter
    from autotune.files import check_writable, write_output
    from autotune.reporting import progress

    for path in (out, plot):
        if path is not None:
            check_writable(path)
    if plot is not None:
        check_can_draw()
    with TerminalReporter() as reporter:
        survey = survey_audio(audio, seed=seed, channel=channel, on_event=progress(reporter, "listening"))
        for skipped in survey.skipped[:5]:
            reporter.note(f"skipped: {skipped.reason}")
        if survey.skipped:
            reporter.note(f"{len(survey.skipped)} of {len(survey.skipped) + survey.files} files skipped", loud=True)
    text = profile_text(survey)
    if out is not None:
        write_output(out, text.encode())
    if plot is not None:
        write_output(plot, draw_survey(survey))
    if json_:
        print(json.dumps({"survey": survey.model_dump(mode="json"), "profile": yaml.safe_load(text)}))
        return
    _print(survey)
    if plot is not None:
        print(f"Drawn to {plot}.")
    side = [] if channel == "mix" else ["--channel", channel]
    if out is not None:
        command = ["--audio-profile", str(out), "--audio", str(audio), *side]
        print(f"Written to {out}. Next:\n  autotune {shlex.join(command)}")


def _print(survey: Survey) -> None:
    quantiles = survey.duration_quantiles_s
    durations = " … ".join(_seconds(quantiles[index]) for index in (0, len(quantiles) // 2, -1))
    print(f"{survey.source}: {survey.files} files, {_seconds(survey.audio_s)}, {survey.transcripts} with transcripts")
    print(f"  durations     {durations} (shortest, median, longest)")
    print(f"  sample rates  {_counts(survey.sample_rates_hz, lambda rate: f'{rate / 1000:g} kHz')}")
    print(f"  channels      {_counts(survey.channels, str)}")
    sampled = "all of it" if survey.sampled_s >= 0.999 * survey.audio_s else f"seed {survey.seed}"
    print(f"Listened to {_seconds(survey.sampled_s)} of {survey.sampled_files} files ({sampled}):")
    print(f"  speech        {survey.speech_share:.1%} (Silero VAD)")
    print(f"  pauses        {_spread(survey.pause_s, 's')}")
    print(f"  loudness      {_spread(survey.loudness_dbfs, 'dBFS RMS')}")
    print(f"  speech/noise  {_spread(survey.snr_db, 'dB')}")
    print(f"  clipped       {survey.clipped_share:.3%} of the samples")
    if survey.opposite_phase:
        print(f"  phase         {survey.opposite_phase} files have channels in opposite phase: one of them is heard")


def _spread(spread: Spread | None, unit: str) -> str:
    if spread is None:
        return "none found"
    return f"{spread.p10:.3g} … {spread.median:.3g} … {spread.p90:.3g} {unit} (10 %, median, 90 %)"


def _counts(counts: dict[int, int], name: Callable[[int], str]) -> str:
    shown = [f"{name(value)}: {count}" for value, count in counts.items()]
    return ", ".join(shown[:6]) + (f", … ({len(shown) - 6} more)" if len(shown) > 6 else "")


def _seconds(value: float) -> str:
    if value >= 7200:
        return f"{value / 3600:.1f} h"
    return f"{value / 60:.1f} min" if value >= 300 else f"{value:.1f} s"
