"""The page: one HTML file with everything in it that is known of a study and its result."""

from __future__ import annotations

from html import escape
from pathlib import Path

from autotune.accuracy import Verdict
from autotune.deploy_yaml import DeploymentFile, yaml_text
from autotune.deployment import told_apart
from autotune.planning.options import Price
from autotune.report.figures import (
    COLUMNS,
    SEARCH_COLUMNS,
    failure_groups,
    headline,
    noticed,
    rate_name,
    rows_of,
    search_rows,
)
from autotune.report.html import bars, cards, details, figure, paragraph, section, table
from autotune.report.plots import accuracy_plot, drift_plot, front_plot, noise_plot, slice_plots
from autotune.report.service_plots import Curve, capacity_plot, predicted_rtfx, service_plot
from autotune.report.subject import Subject
from autotune.report.svg import number
from autotune.reporting import bytes_text
from autotune.study.candidates import Candidate
from autotune.study.importance import ENOUGH, Worth, worth_of
from autotune.version import __version__

__all__ = ["page"]

_TOP = 8
"""Deployments of the trials that are listed."""
_STYLE = Path(__file__).with_name("report.css")
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
"""Content-Security-Policy: the file asks for nothing, whoever opens it."""


def page(subject: Subject, curve: Curve | None = None, price: Price | None = None) -> str:
    """The whole report as HTML.

    Args:
        subject: what it is of.
        curve: latency under load, where it was simulated.
        price: of a machine, where it is known.
    """
    title = _title(subject)
    sections = (
        _verdict(subject),
        _proof(subject),
        _held_back(subject),
        _search(subject),
        _parameters(subject),
        _parts(subject, curve),
        _cost(subject, curve, price),
        _noise(subject),
        _failures(subject),
        _provenance(subject),
    )
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1"><link rel="icon" href="data:,">'
        f"<title>{escape(title)}</title><style>{_STYLE.read_text(encoding='utf-8')}</style></head><body>"
        f"<header><p>autotune {escape(__version__)} · report</p><h1>{escape(title)}</h1></header>"
        f"<main>{''.join(sections)}</main></body></html>\n"
    )


def _title(subject: Subject) -> str:
    if subject.document is not None:
        return f"{subject.document.model.id} · {subject.document.audio_profile.name}"
    return subject.about.get("model", "") or subject.name


def _verdict(subject: Subject) -> str:
    notes = "".join(paragraph(note, "aside") for note in subject.notes)
    document = subject.document
    if document is None:
        return section("Result", paragraph(_so_far(subject), "verdict"), notes)
    measured, base = document.measurement, document.baseline
    entries = [] if document.speedup is None else [
        ("speed-up", f"{document.speedup.median:.2f}×", f"{document.speedup.low:.2f}–{document.speedup.high:.2f}, 95 %")
    ]  # fmt: skip
    entries += [
        ("RTFx", f"{measured.rtfx.median:.1f}", f"baseline {base.rtfx.median:.1f}"),
        ("p95 latency", f"{measured.latency_s.p95:.3g} s", f"baseline {base.latency_s.p95:.3g} s"),
        ("peak memory", bytes_text(measured.peak_memory_bytes), f"baseline {bytes_text(base.peak_memory_bytes)}"),
        ("cold start", f"{measured.load_s:.3g} s", "process start to loaded"),
    ]
    if (cer := measured.cer) is not None:
        against = "" if cer.baseline is None else f"baseline {100 * cer.baseline:.2f} %; "
        name = "differs" if cer.unit == "disagreement" else cer.unit.upper()
        entries.append((name, f"{100 * cer.rate.value:.2f} %", f"{against}{cer.verdict}"))
    quiet = measured.stability == "stable"
    noisy = "" if quiet else "The machine wasn't quiet while this was measured: see below."
    words = paragraph(document.reason) + paragraph(noisy, "aside") + notes
    return section("Result", paragraph(headline(document), "verdict"), cards(entries), words)


def _so_far(subject: Subject) -> str:
    study, best = subject.study, subject.best
    ended = 0 if study is None else len(study.trials)
    if study is None or not ended:
        return "This study has only begun: no trial has ended yet."
    if best is None:
        measured = len(study.candidates)
        why = f"{measured} were measured, none within the limits" if measured else "none of them gave a measurement"
        return f"Nothing can be recommended yet: of {ended} trials, {why}."
    ratio = best.relative / subject.baseline_relative
    return (
        f"After {ended} trials the best so far is {best.deployment.describe()}: RTFx {best.pooled.rtfx:.1f}, "
        f"{ratio:.2f} times {subject.compared_with}. It is not proven."
    )


def _proof(subject: Subject) -> str:
    document = subject.document
    if document is None:
        return ""
    rows = rows_of(document, subject.comparison)
    columns = [rate_name(rows) if column == "errors" else column for column in COLUMNS]
    blocks = paragraph(
        f"{document.measurement.blocks} interleaved blocks, each deployment in a fresh process; "
        f"{document.audio_profile.audio_s:.0f} s of audio. Speed-ups are paired within blocks.",
        "aside",
    )
    told = told_apart(row.deployment for row in rows)
    names = table(["", "deployment"], [(row.name, told[row.deployment]) for row in rows], "facts")
    verdict = subject.comparison.winner.verdict if subject.comparison else None
    return section(
        "Baseline and winner",
        table(["", *columns], [(row.name, *row.cells()) for row in rows], "figures"),
        names,
        blocks,
        paragraph(_heard(document, verdict)),
    )


def _heard(document: DeploymentFile, verdict: Verdict | None) -> str:
    if verdict is not None:
        return noticed(verdict, document.audio_profile.hearing_s or document.audio_profile.audio_s)
    cer = document.measurement.cer
    if cer is None:
        return "Accuracy was not checked."
    return (
        f"With {cer.clips} distinct clips, an increase of {100 * cer.visible:.2f} points would be noticed (80 % power)."
    )


def _held_back(subject: Subject) -> str:
    told = told_apart(held.deployment for held in subject.held_back)
    rows = [
        (told[held.deployment], f"{held.rtfx:.1f}", f"{held.ratio:.2f}×", held.describe()) for held in subject.held_back
    ]
    return section("Held back", table(["deployment", "RTFx", "to the baseline", "why"], rows, "figures"))


def _search(subject: Subject) -> str:
    study = subject.study
    if study is None or not (study.candidates or study.baselines):
        return ""
    spent = sum(trial.wall_s for trial in study.trials)
    running = f", {subject.running} without an end" if subject.running else ""
    text = (
        f"{len(study.trials)} trials ended{running}: {len(study.candidates)} deployments measured, "
        f"{len(study.failed)} trials failed; {spent / 60:.0f} minutes of measuring. "
        f"Looking for: {study.goal.describe()}."
    )
    top = study.candidates[:_TOP]
    told = told_apart(candidate.deployment for candidate in top)
    rows = [(told[candidate.deployment], *_candidate_row(subject, candidate)) for candidate in top]
    columns = ["deployment", "RTFx", "to the baseline", "p95", "memory", "trials", ""]
    listed = table(columns, rows, "figures")
    plots = figure(accuracy_plot(subject)) + figure(front_plot(subject))
    best = details("The best of the trials, by what is expected of each", listed)
    every = details("Every trial in its order", table(list(SEARCH_COLUMNS), search_rows(study), "figures"))
    return section("The search", paragraph(text), f'<div class="plots">{plots}</div>' if plots else "", best, every)


def _candidate_row(subject: Subject, candidate: Candidate) -> tuple[str, ...]:
    figures = candidate.pooled
    return (
        f"{figures.rtfx:.1f}",
        f"{candidate.relative / subject.baseline_relative:.2f}×",
        f"{figures.p95_latency_s:.3g} s",
        bytes_text(figures.peak_memory_bytes),
        str(len(candidate.trials)),
        "" if candidate.feasible else "not within the limits",
    )


def _parameters(subject: Subject) -> str:
    if subject.study is None or not subject.study.candidates:
        return ""
    worths = worth_of(subject.study.candidates)
    if not worths:
        return section(
            "What each parameter was worth",
            paragraph(
                f"{len(subject.study.candidates)} deployments were measured, and fewer than {ENOUGH} that differ say "
                "nothing of single parameters.",
                "aside",
            ),
        )
    largest = worths[0].share or 1.0
    shares = bars([(worth.path, _beside(worth), worth.share / largest, f"{worth.share:.0%}") for worth in worths[:12]])
    text = (
        "How much the best deployments' values differ from all deployments' (PED-ANOVA): what went with being fast in "
        "this study, which didn't try all values equally often."
    )
    plots = "".join(map(figure, slice_plots(subject, worths)))
    return section(
        "What each parameter was worth", paragraph(text, "aside"), shares, f'<div class="plots">{plots}</div>'
    )


def _beside(worth: Worth) -> str:
    """The parameters that changed with it, in the same section by their last names."""
    section = worth.path.rpartition(".")[0]
    return f"with {', '.join(path.removeprefix(f'{section}.') for path in worth.with_it)}" if worth.with_it else ""


def _parts(subject: Subject, curve: Curve | None) -> str:
    document = subject.document
    if document is None:
        return ""
    stages = document.measurement.stages
    whole = sum(stages.values()) or 1.0
    shares = [(name, "", value / whole, f"{3600 * value:.3g} core-s") for name, value in stages.items() if value > 0]
    plots = figure(service_plot(document)) + (figure(capacity_plot(curve)) if curve else "")
    measured, predicted = document.measurement, predicted_rtfx(document)
    facts = [
        ("padding", f"{measured.padding_share:.1%} of the batches' seconds held no audio"),
        ("new shapes", f"{measured.new_shapes.share:.1%} of the batches had a shape that was new to the engine"),
    ]
    if predicted is not None:
        facts.append(
            ("predicted", f"RTFx {predicted:.1f} by simulation from the parts, {_differs(predicted, document)}")
        )
    missing = "" if document.service_times else (
        "Its parts weren't timed: autotune measure FILE --service-times adds what latency under load is simulated from."
    )  # fmt: skip
    return section(
        "Where the seconds go",
        paragraph("Core-seconds of each stage for an hour of audio, all threads together.", "aside"),
        bars(shares),
        table(["", ""], facts, "facts"),
        f'<div class="plots">{plots}</div>' if plots else "",
        paragraph(missing, "aside"),
    )


def _cost(subject: Subject, curve: Curve | None, price: Price | None) -> str:
    document = subject.document
    if document is None or price is None:
        return ""

    def an_hour(rate: float) -> str:
        return price.text(price.per_hour / rate)

    rows = [
        (f"{name}, always busy", an_hour(rtfx.median), f"{an_hour(rtfx.high)}–{an_hour(rtfx.low)}, measured")
        for name, rtfx in (("winner", document.measurement.rtfx), ("baseline", document.baseline.rtfx))
    ]
    # A plan goes by the low end, which may be nothing at all.
    if curve is not None and curve.capacity.low > 0:
        rate = curve.capacity.low * curve.audio_s_per_s
        load = f"{number(curve.capacity.low)} {curve.unit}, the low end of the capacity; simulated"
        rows.append((f"winner, within {curve.promise.describe()}", an_hour(rate), load))
    text = f"A machine costs {price.text(price.per_hour)} an hour. For a demand of your own: autotune plan."
    return section(
        "What an hour of audio costs", table(["", "an hour of audio", ""], rows, "figures"), paragraph(text, "aside")
    )


def _differs(predicted: float, document: DeploymentFile) -> str:
    rtfx = document.measurement.rtfx
    return f"measured {rtfx.median:.1f} ({rtfx.low:.1f}–{rtfx.high:.1f}): {predicted / rtfx.median - 1:+.1%}"


def _noise(subject: Subject) -> str:
    plots = figure(drift_plot(subject)) + figure(noise_plot(subject))
    stable = "" if subject.document is None else f"The winner's blocks: {subject.document.measurement.stability}."
    return section("How quiet the machine was", paragraph(stable), f'<div class="plots">{plots}</div>' if plots else "")


def _failures(subject: Subject) -> str:
    groups = failure_groups(subject.study) if subject.study else []
    rows = [(group.why, str(group.trials), "; ".join(group.deployments)) for group in groups]
    return section("What failed", table(["reason", "trials", "deployments"], rows))


def _provenance(subject: Subject) -> str:
    document = subject.document
    if document is None:
        rows = [(name, text) for name, text in subject.about.items()]
        return section("Where this comes from", table(["", ""], [("study", subject.name), *rows], "facts"))
    made, audio, model = document.provenance, document.audio_profile, document.model
    packages = ", ".join(f"{name} {version}" for name, version in made.packages.items())
    rows = [
        ("repeat it", made.command),
        ("machine", f"{document.hardware.profile().describe()}; fingerprint {document.hardware.fingerprint}"),
        (
            "model",
            f"{model.id}, {model.architecture}, {model.parameters / 1e6:.1f} M parameters, {model.weights} weights",
        ),
        (
            "audio",
            f"{audio.name}: {audio.recordings} recordings, {audio.audio_s:.0f} s, {audio.arrival}"
            + (f", from {audio.source}" if audio.source else ""),
        ),
        ("looking for", document.goal.goal().describe()),
        ("measured", f"{made.date:%Y-%m-%d %H:%M} UTC by autotune {made.autotune}, Python {made.python}"),
        ("packages", packages),
        ("study", f"{made.study}, seed {made.seed}"),
    ]
    file = details("deploy.yaml", f"<pre>{escape(yaml_text(document))}</pre>")
    return section("Where this comes from", table(["", ""], rows, "facts"), file)
