"""A PostgreSQL database that several machines share: calls wait while it is away, running trials show signs of life."""

from __future__ import annotations

import importlib.util
import os
import platform
import re
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import ParamSpec, TypeVar

import optuna
from optuna.storages import RDBStorage

from autotune.errors import AutotuneError, DocumentError, EngineUnavailableError
from autotune.redaction import redacted

__all__ = ["SharedStorage", "check_shared", "node_name", "open_shared"]

HEARTBEAT_S = 15
"""Seconds between two signs of life of a running trial."""
GRACE_S = 90
"""Seconds of silence after which a node is taken for dead, and its trial is measured by another: six missed beats."""
PATIENCE_S = 900.0
"""Seconds for which the database may be away."""
_TABLES = 7_270_617_461
"""Number of the advisory lock in PostgreSQL under which Optuna's tables are made; any that nobody else uses."""
_UNENCODED = re.compile(r"://[^:/?#@]*:[^?@/]*[@/][^?]*@")
_FIRST_WAIT_S = 0.5
_LONGEST_WAIT_S = 10.0

P = ParamSpec("P")
Result = TypeVar("Result")


def node_name() -> str:
    """This machine's name within a study: ``$AUTOTUNE_NODE`` (a pod's name, say), else the host's name."""
    return os.environ.get("AUTOTUNE_NODE") or platform.node() or "node"


def _loss(error: BaseException | None) -> BaseException | None:
    """The error of the connection behind ``error``; None if the question, not the connection, was at fault."""
    from sqlalchemy.exc import DBAPIError

    while error is not None:
        if isinstance(error, DBAPIError) and error.connection_invalidated:
            return error
        if type(error).__name__ in _AWAY:  # SQLAlchemy's, or psycopg's own
            return error
        error = error.__cause__ or error.__context__
    return None


def _unreachable(where: str, loss: BaseException) -> AutotuneError:
    return AutotuneError(
        f"the database of --storage must be reachable, but {where} is not: {str(loss).splitlines()[0]}. "
        "Once it is, run the same command again: what it holds is not measured again."
    )


_AWAY = ("OperationalError", "InterfaceError")


class SharedStorage:
    """Implements ``StudyStorage`` with PostgreSQL."""

    alone = False

    def __init__(self, url: str, *, heartbeat_s: int, grace_s: int, patience_s: float) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            # Pre-ping: pooled connections die with the database, and each is tried before it is used again.
            self.optuna = RDBStorage(
                url,
                engine_kwargs={"pool_pre_ping": True, "connect_args": {"connect_timeout": 10}},
                heartbeat_interval=heartbeat_s,
                grace_period=grace_s,
            )
        self.node = node_name()
        self.where = redacted(url).replace("+psycopg", "", 1)
        self._heartbeat_s, self._patience_s = heartbeat_s, patience_s

    def patiently(self, call: Callable[P, Result], *args: P.args, **kwargs: P.kwargs) -> Result:
        """Make a call that may be made twice, again and again while the database is away; what it returns.

        Raises:
            AutotuneError: it was away for longer than the patience. What else ``call`` raises is passed on.
        """
        until, wait_s = time.monotonic() + self._patience_s, _FIRST_WAIT_S
        while True:
            try:
                return call(*args, **kwargs)
            except Exception as error:
                loss = _loss(error)
                if loss is None:
                    raise
                if time.monotonic() + wait_s > until:
                    raise _unreachable(self.where, loss) from error
            # The session remembers the transaction that failed, and would refuse everything until it is rolled back.
            self.optuna.remove_session()
            time.sleep(wait_s)
            wait_s = min(2 * wait_s, _LONGEST_WAIT_S)

    @contextmanager
    def heartbeat(self, trial_id: int) -> Iterator[None]:
        """Show every quarter of a minute that a trial is alive, as long as the block lasts."""
        over = threading.Event()
        # The first beat here, where it may wait: a trial without any is never stale, however dead its node is.
        self.patiently(self.optuna.record_heartbeat, trial_id)
        thread = threading.Thread(target=self._beat, args=(trial_id, over), name="heartbeat", daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()

    def _beat(self, trial_id: int, over: threading.Event) -> None:
        while not over.wait(self._heartbeat_s):
            try:
                self.optuna.record_heartbeat(trial_id)
            except Exception:  # noqa: BLE001 - the next beat is another try; a trial must not die of a missed one
                continue

    def close(self) -> None:
        """Close every connection; idempotent."""
        self.optuna.remove_session()
        self.optuna.engine.dispose()


def check_shared(url: str, *, fresh: bool) -> str:
    """What follows the scheme of a shared study's URL, checked without connecting.

    Raises:
        DocumentError: the URL isn't PostgreSQL's, or ``fresh`` was asked for.
        EngineUnavailableError: psycopg isn't installed.
    """
    scheme, separator, rest = url.partition("://")
    if not separator or scheme.partition("+")[0] not in ("postgresql", "postgres"):
        raise DocumentError(
            f"--storage must be the URL of a PostgreSQL database (postgresql://user:password@host/database), but got "
            f"{redacted(url)!r}. Leave it out for the embedded journal of this machine."
        )
    if fresh:
        raise DocumentError("--fresh must not be used with --storage: other machines share that study. Name a new one.")
    if importlib.util.find_spec("psycopg") is None:
        raise EngineUnavailableError(
            '--storage needs psycopg, which is not installed. Install it: pip install "funasr-autotune[postgres]"'
        )
    return rest


def open_shared(
    url: str,
    *,
    fresh: bool = False,
    heartbeat_s: int = HEARTBEAT_S,
    grace_s: int = GRACE_S,
    patience_s: float = PATIENCE_S,
) -> SharedStorage:
    """Connect to a PostgreSQL database; its tables are made if need be.

    Args:
        url: ``postgresql://user:password@host:port/database``.
        fresh: refused: what others measured isn't forgotten from here.
        heartbeat_s: seconds between two signs of life of a running trial.
        grace_s: seconds of silence after which a trial is given up.
        patience_s: seconds for which the database may be away.

    Raises:
        DocumentError: the URL isn't PostgreSQL's, or isn't percent-encoded, or ``fresh`` was asked for.
        EngineUnavailableError: psycopg isn't installed.
        AutotuneError: the database can't be reached.
    """
    rest = check_shared(url, fresh=fresh)
    try:
        with _alone_in(f"postgresql://{rest}"):
            return SharedStorage(
                f"postgresql+psycopg://{rest}", heartbeat_s=heartbeat_s, grace_s=grace_s, patience_s=patience_s
            )
    except Exception as error:
        if (loss := _loss(error)) is not None:
            raise _unreachable(redacted(url), loss) from error
        raise


@contextmanager
def _alone_in(url: str) -> Iterator[None]:
    """Two nodes that start at the same moment would both make Optuna's tables, and one of them fail."""
    import psycopg

    _check_encoded(url)
    with psycopg.connect(url, connect_timeout=10) as connection:
        connection.execute("SELECT pg_advisory_xact_lock(%s)", [_TABLES])
        yield


def _check_encoded(url: str) -> None:
    """Raise DocumentError where libpq would take a part of the password for a host, or quote it in its own error."""
    import psycopg

    try:
        psycopg.conninfo.conninfo_to_dict(url)
        encoded = not _UNENCODED.search(url)
    except psycopg.Error:
        encoded = False
    if not encoded:
        raise DocumentError(
            "--storage must be a URL that PostgreSQL reads, its user and password percent-encoded (@ as %40, / as %2F, "
            f"% as %25), but got {redacted(url)!r}."
        )
