"""One server that most tests share."""

from collections.abc import Iterator

import pytest

from tests.serve.serving import Served, serve


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serve(tmp_path_factory.mktemp("served")) as found:
        yield found
