"""``autotune load``: settle everything, warm the server up, run one load or look for the highest, and report it."""

from __future__ import annotations

import contextlib
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from autotune.audio import Recording, Workload, load_profile
from autotune.errors import DocumentError, EngineUnavailableError, LoadError
from autotune.jobs.preparing import draw_workload
from autotune.loadgen.capacity import Capacity, RunOutcome, find_capacity
from autotune.loadgen.client import Access, Client, Endpoint, endpoint
from autotune.loadgen.document import UNITS, CapacityRecord, LoadAudio, LoadProvenance, LoadReport, LoadRun
from autotune.loadgen.driver import let_settle, run_plan, warm_up
from autotune.loadgen.offer import Offer, check_load, choose_offer
from autotune.loadgen.options import LoadOptions
from autotune.loadgen.statistics import figures
from autotune.loadgen.texts import text_errors
from autotune.loadgen.verdict import CLIENT_KINDS, Reason, reasons_against
from autotune.reporting import Reporter
from autotune.version import __version__

__all__ = ["SHARDS", "load_server", "make_client"]

SHARDS = 4
"""Shards of the workload: four times the profile's recordings are different ones."""
WARM_S = 60.0
"""Seconds that a server may take for its first recordings, if the time-out isn't longer."""


@dataclass(frozen=True)
class _LoadSetup:
    """Everything that is settled before the first request."""

    options: LoadOptions
    where: Endpoint
    workload: Workload
    offer: Offer
    client: Client
    reporter: Reporter

    @property
    def warmup(self) -> range:
        """Places of the warm-up's recordings among those that the client has."""
        count = len(self.offer.recordings)
        return range(count, count + len(self.workload.warmup))

    def run(self, load: float, seed: int, *, give_up: bool = False) -> LoadRun:
        """One run at one load.

        Raises:
            LoadError: nothing was due in its time.
            KeyboardInterrupt: it was interrupted before anything was answered.
        """
        offer = self.offer
        plan = offer.plan(load, seed, give_up=give_up)
        run = run_plan(self.client, offer.recordings, plan, self.reporter)
        if not run.requests or not run.period_s:
            if run.interrupted:
                raise KeyboardInterrupt
            raise LoadError(
                f"At least one request must be due, but at {load:g} {UNITS[offer.process]} none was within "
                f"{plan.limit_s:g} s. Give a longer --duration."
            )
        run_figures = figures(run, offer.slo_s)
        reasons = reasons_against(run_figures, interrupted=run.interrupted)
        return LoadRun(
            load=load,
            seed=seed,
            period_s=run.period_s,
            figures=run_figures,
            texts=text_errors(run.requests, offer.recordings),
            verdict="INVALID" if reasons else "VALID",
            reasons=reasons,
            requests=run.requests,
        )


def load_server(url: str, options: LoadOptions, reporter: Reporter) -> LoadReport:
    """Load a server with a profile's audio and measure what its users would see.

    Raises:
        DocumentError: an option, the profile or the trace is wrong.
        AudioError: none of the user's files is usable.
        EngineUnavailableError: a network library is missing.
        LoadError: the server can't be reached, or doesn't transcribe.
        KeyboardInterrupt: Ctrl-C before anything was answered; later it ends in a report that says so.
    """
    setup = _settle(url, options, reporter)
    reporter.working("warming the server up")
    warm_up(setup.client, setup.warmup, setup.where, max(WARM_S, options.timeout_s))
    if not options.find_capacity:
        run = setup.run(setup.offer.load, options.seed)
        return _report(setup, [run], None, run.reasons)
    runs: list[LoadRun] = []
    capacity = _search(setup, runs)
    return _report(setup, runs, capacity, _against_search(runs, capacity))


def _settle(url: str, options: LoadOptions, reporter: Reporter) -> _LoadSetup:
    profile = load_profile(options.audio_profile)
    check_load(options, profile)
    promised = None if profile.slo is None else profile.slo.p95_latency_s
    slo = promised if options.slo is None else options.slo
    slo_s = slo if isinstance(slo, float) else None
    if options.find_capacity and slo_s is None:
        raise DocumentError(
            f"--find-capacity must have a promise to keep, but the audio profile {profile.name} has none. "
            "Give --slo p95_latency_s=SECONDS."
        )
    if options.timeout_s <= (slo_s or 0.0):
        raise DocumentError(
            f"--timeout-s must be longer than the promised {slo_s or 0.0:g} s, but got {options.timeout_s:g}."
        )
    endpoint(url, paced=False)
    workload = draw_workload(
        profile, options.audio, reporter, seed=options.seed, shards=SHARDS, channel=options.channel
    )
    recordings = tuple(recording for shard in workload.shards for recording in shard.recordings)
    offer = choose_offer(options, profile, recordings, slo_s=slo_s)
    where = endpoint(url, paced=offer.paced)
    access = Access(options.api_key, options.model, options.insecure)
    client = make_client(where, [*recordings, *workload.warmup], access)
    _raise_file_limit()
    return _LoadSetup(options, where, workload, offer, client, reporter)


def _search(setup: _LoadSetup, runs: list[LoadRun]) -> Capacity | None:
    """Look for the highest load; ``runs`` grows meanwhile. None if it was interrupted."""

    def probe(load: float) -> RunOutcome:
        if runs:
            setup.reporter.working("letting the server settle")
            let_settle(setup.client, setup.warmup[0], setup.offer.slo_s or setup.options.timeout_s)
        # A second run of a load must not be the first one again.
        again = sum(1 for run in runs if run.load == load)
        run = setup.run(load, setup.options.seed + again, give_up=True)
        runs.append(run)
        p95_s = run.figures.latency_s.p95
        p95 = "no p95" if p95_s is None else f"p95 {p95_s:.3g} s"
        setup.reporter.step("runs", len(runs), None, f"{load:.4g} {UNITS[setup.offer.process]}: {p95}, {run.outcome}")
        if run.interrupted:
            raise KeyboardInterrupt
        return run.outcome

    try:
        return find_capacity(probe, setup.offer.span)
    except KeyboardInterrupt:
        if not runs:
            raise
        return None


def _against_search(runs: list[LoadRun], capacity: Capacity | None) -> tuple[Reason, ...]:
    if capacity is None:
        return (Reason(kind="interrupted", text="The search must end by itself, but was interrupted."),)
    if capacity.ended == "probes":
        text = f"Runs of one load must agree, but after {len(runs)} runs they don't yet. Give a longer --duration."
        return (Reason(kind="unconfirmed", text=text),)
    if capacity.ended == "client":
        above = [run for run in runs if run.load == capacity.above and run.outcome == "client"]
        return tuple(reason for run in above[-1:] for reason in run.reasons if reason.kind in CLIENT_KINDS)
    at_it = [run for run in runs if run.load == capacity.load and run.outcome == "met"]
    if at_it and not any(run.figures.promise == "met" for run in at_it):
        return tuple(reason for reason in at_it[-1].reasons if reason.kind == "too-few")
    return ()


def _report(
    setup: _LoadSetup, runs: list[LoadRun], capacity: Capacity | None, reasons: tuple[Reason, ...]
) -> LoadReport:
    options, workload, offer = setup.options, setup.workload, setup.offer
    record = None
    if capacity is not None:
        outcomes = tuple(probe.outcome for probe in capacity.probes)
        record = CapacityRecord(load=capacity.load, above=capacity.above, ended=capacity.ended, outcomes=outcomes)
    return LoadReport(
        url=setup.where.url,
        protocol=setup.where.protocol,
        local=setup.where.local,
        process=offer.process,
        unit=UNITS[offer.process],
        p95_latency_s=offer.slo_s,
        timeout_s=offer.timeout_s,
        audio=LoadAudio(
            profile=workload.profile,
            seed=workload.seed,
            source=workload.source,
            sha256=workload.sha256,
            recordings=len(offer.recordings),
            audio_s=workload.audio_s,
        ),
        verdict="INVALID" if reasons else "VALID",
        reasons=reasons,
        capacity=record,
        runs=tuple(runs),
        provenance=LoadProvenance(
            autotune=__version__,
            command=options.command,
            date=datetime.now(UTC),
            python=platform.python_version(),
        ),
    )


def _raise_file_limit() -> None:
    """Allow this process as many sockets as the system does: a server that falls behind has all its requests open."""
    with contextlib.suppress(ImportError, ValueError, OSError):  # not on Windows, or not allowed
        import resource

        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def make_client(where: Endpoint, recordings: Sequence[Recording], access: Access) -> Client:
    """A client for an address, with the recordings read and encoded before any clock starts.

    Raises:
        EngineUnavailableError: its library is missing.
        AudioError: a recording can't be read.
    """
    try:
        if where.protocol == "http":
            from autotune.loadgen.http_client import HttpClient

            return HttpClient(where, recordings, access)
        from autotune.loadgen.websocket_client import WebSocketClient

        return WebSocketClient(where, recordings, access)
    except ModuleNotFoundError as error:
        raise EngineUnavailableError(
            f"Loading a server needs {error.name}, which is not installed. Install it: "
            'pip install "funasr-autotune[serve]"'
        ) from error
