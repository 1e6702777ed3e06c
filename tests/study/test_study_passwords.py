"""Passwords of a shared study's database: from the URL, from the environment, from .pgpass, and never in a message."""

import traceback
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from autotune.errors import AutotuneError
from autotune.study.shared_storage import open_shared
from tests.study.postgres import Cluster, missing

pytestmark = pytest.mark.skipif(bool(missing()), reason=missing() or "PostgreSQL is here")
PASSWORD, WRONG = "right%2Fkanarie", "wrong-kanarie"


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """Of a database that asks for a password; {} is its place."""
    with Cluster() as cluster:
        with psycopg.connect(cluster.url, autocommit=True) as connection:
            connection.execute("ALTER USER tuner PASSWORD 'right/kanarie'")
        cluster.ask_for_passwords()
        yield cluster.url.replace("tuner@", "tuner{}@")


def test_the_password_of_the_url(url: str) -> None:
    open_shared(url.format(f":{PASSWORD}")).close()


def test_the_password_of_pgpass(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / ".pgpass"
    file.write_text("127.0.0.1:*:postgres:tuner:right/kanarie\n", encoding="utf-8")
    file.chmod(0o600)
    monkeypatch.setenv("PGPASSFILE", str(file))
    monkeypatch.delenv("PGPASSWORD", raising=False)
    open_shared(url.format("")).close()


@pytest.mark.parametrize("place", ["url", "parameter", "environment", "pgpass"])
def test_a_wrong_password_is_in_no_message(
    place: str, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / ".pgpass"
    file.write_text(f"*:*:*:*:{WRONG}\n", encoding="utf-8")
    file.chmod(0o600)
    monkeypatch.delenv("PGPASSWORD", raising=False)
    if place == "environment":
        monkeypatch.setenv("PGPASSWORD", WRONG)
    if place == "pgpass":
        monkeypatch.setenv("PGPASSFILE", str(file))
    given = url.format(f":{WRONG}" if place == "url" else "") + (f"?password={WRONG}" if place == "parameter" else "")
    with pytest.raises(AutotuneError, match="password authentication failed") as caught:
        open_shared(given)
    assert "kanarie" not in "".join(traceback.format_exception(caught.value))
