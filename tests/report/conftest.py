"""One replayed study for all tests of the report: search, proof, journal and file."""

import pytest

from tests.report.replayed import Replayed, replay


@pytest.fixture(scope="session")
def replayed(tmp_path_factory: pytest.TempPathFactory) -> Replayed:
    return replay(tmp_path_factory.mktemp("replayed"))
