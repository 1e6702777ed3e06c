"""What ``import autotune`` offers to scripts and notebooks: ``tune``, ``plan`` and ``load``, as of the commands."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, fields
from html import escape
from pathlib import Path
from typing import Any, TypeVar, get_args, get_type_hints

from autotune.cli.terminal import TerminalReporter
from autotune.cli.tune import tuned
from autotune.deploy_yaml import DeploymentFile, IntervalRecord, read_deployment_file
from autotune.deployment import Deployment
from autotune.documents import suggest
from autotune.errors import AutotuneError, DocumentError
from autotune.jobs.load_model import load
from autotune.jobs.options import TuneOptions
from autotune.jobs.tune import SharedPart, TuneResult
from autotune.options import Option
from autotune.planning.alternatives import on_hardware
from autotune.planning.document import Plan
from autotune.planning.fleets import plan_fleets
from autotune.planning.options import PlanOptions
from autotune.recognizer import Recognizer
from autotune.report.figures import COLUMNS, headline, rows_of
from autotune.report.html import paragraph, table
from autotune.reporting import Reporter, Silent

__all__ = ["Study", "options_of", "plan", "tune"]

Options = TypeVar("Options", TuneOptions, PlanOptions)


@dataclass(frozen=True)
class Study:
    """A finished study: what it recommends, and what that rests on. A notebook shows it as a table."""

    result: TuneResult
    """Everything that was measured."""

    @property
    def document(self) -> DeploymentFile:
        """The recommendation, its measurement and the baseline's, as ``deploy.yaml`` has them."""
        return self.result.document

    @property
    def best(self) -> Deployment:
        """The recommended deployment; the baseline where nothing was proven to be faster."""
        return self.document.deployment

    @property
    def speedup(self) -> IntervalRecord | None:
        """Times as fast as the better baseline, with its 95 % interval; None where the baseline is recommended."""
        return self.document.speedup

    @property
    def deploy_yaml(self) -> Path:
        """The file that was written."""
        return self.result.out

    def load(self) -> Recognizer:
        """The recommended deployment, loaded; see ``autotune.load``."""
        return load(self.deploy_yaml)

    def __str__(self) -> str:
        """The verdict in a sentence."""
        return headline(self.document)

    def _repr_html_(self) -> str:
        rows = [(row.name, *row.cells(), row.deployment.describe()) for row in self._rows]
        return (
            f"<div>{paragraph(headline(self.document))}{table(['', *COLUMNS, 'deployment'], rows)}"
            f"<p>{escape(self.document.reason)} Written to <code>{escape(str(self.deploy_yaml))}</code>.</p></div>"
        )

    @property
    def _rows(self) -> list[Any]:
        return rows_of(self.document, self.result.comparison)


def tune(*, progress: bool = True, **options: Any) -> Study:
    """Find the best deployment of a model on this machine, prove it, and write it: ``autotune tune``.

    ::

        study = autotune.tune(model="/models/SenseVoiceSmall", audio="calls/", effort="quick")
        study.best, study.speedup

    The same call goes on with an interrupted study. Ctrl-C (a kernel's interrupt) ends the search, and proves the best
    so far.

    Args:
        progress: whether stderr says what is being done.
        options: those of the command, with ``_`` for ``-``, as values or as the texts that the command takes:
            ``max_memory="4GiB"``, ``slo="p95_latency_s=0.5"``, ``audio="calls"``, ``report="report.html"``.

    Raises:
        DocumentError: an option is unknown or wrong; nothing was measured.
        AutotuneError: see ``jobs.tune.tune``; or the study is shared, and another machine compares its finalists.
    """
    given = options_of(TuneOptions, {"command": "autotune.tune(…)", **options})
    with _reporter(progress=progress) as reporter:
        result = tuned(given, reporter)
    if isinstance(result, SharedPart):
        raise AutotuneError(
            f"This machine's part is done, but {result.node} compares the finalists of the shared study and writes the "
            "file. Read it there."
        )
    return Study(result)


def plan(
    deployments: str | Path | Sequence[str | Path],
    *,
    progress: bool = True,
    **options: Any,
) -> Plan:
    """How many machines a demand needs: ``autotune plan``.

    ::

        autotune.plan("deploy.yaml", demand="200 streams", price="1.20/h").replicas

    Args:
        deployments: a deploy.yaml, or several, of which the cheapest is taken.
        progress: whether stderr says what is being done.
        options: those of the command, as values or as texts: ``demand``, ``slo="p95_latency_s=1"``, ``price``,
            ``availability="n+1"``, ``hardware=["epyc-9554:16"]``, …

    Raises:
        DocumentError: an option or a file is wrong.
        CantPredictError: too little is known of the other machines.
        InfeasibleSloError: nothing keeps the promise.
    """
    paths = [deployments] if isinstance(deployments, str | Path) else deployments
    files = [(str(path), read_deployment_file(Path(path))) for path in paths]
    given = options_of(PlanOptions, options)
    files, _ = on_hardware(files, given)
    with _reporter(progress=progress) as reporter:
        return plan_fleets(files, given, reporter)


def options_of(kind: type[Options], given: dict[str, Any]) -> Options:
    """The options of a command from keywords; texts are read as the command reads them.

    Raises:
        DocumentError: unknown, or not readable.
    """
    hints = get_type_hints(kind, include_extras=True)
    known: dict[str, tuple[str, Option | None]] = {}
    for field in fields(kind):
        option = next((extra for extra in get_args(hints[field.name])[1:] if isinstance(extra, Option)), None)
        written = option.name if option is not None and option.name else field.name
        known[field.name] = known[written.removeprefix("--").replace("-", "_")] = field.name, option
    values = {}
    for name, value in given.items():
        if name not in known:
            raise DocumentError(f"There is no option {name!r}. {suggest(name, sorted(known))}")
        field_name, option = known[name]
        read: Callable[[Any, str], Any] = _as_given
        if isinstance(value, str) and option is not None and option.read is not None:
            read = option.read
        elif isinstance(value, str) and Path in _kinds(hints[field_name]):
            read = _as_path
        values[field_name] = read(value, name)
    return kind(**values)


def _as_given(value: Any, _: str) -> Any:
    return value


def _as_path(value: Any, _: str) -> Path:
    return Path(value)


def _kinds(hint: Any) -> tuple[Any, ...]:
    """The types that an annotated option may have."""
    kind = get_args(hint)[0] if get_args(hint) else hint
    return get_args(kind) or (kind,)


def _reporter(*, progress: bool) -> AbstractContextManager[Reporter]:
    return TerminalReporter() if progress else nullcontext(Silent())
