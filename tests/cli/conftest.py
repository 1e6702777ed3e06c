"""Measurements on a busy test machine are disturbed, and are taken as they are."""

from collections.abc import Iterator

import pytest

from autotune.jobs import repeater


@pytest.fixture(scope="module", autouse=True)
def one_attempt() -> Iterator[None]:
    """Other tests beside this one are no reason to wait 25 s and measure twice more; ``Repeater`` has its own tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(repeater, "PAUSES_S", ())
        yield
