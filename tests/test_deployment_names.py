"""Deployments in lists: those that read alike are told apart by what differs."""

from autotune.deployment import told_apart
from tests.deployment_example import example_deployment


def test_deployments_that_read_alike_are_told_apart() -> None:
    first = example_deployment()
    more_readers = first.model_copy(update={"readers": 2})
    options = {**first.session_options, "allow_spinning": not first.session_options["allow_spinning"]}
    spinning = more_readers.model_copy(update={"session_options": options})
    other = first.model_copy(update={"intra_op_num_threads": 7})
    names = told_apart([first, more_readers, spinning, other, first])
    assert names[other] == other.describe()
    assert names[first].startswith(f"{first.describe()} · ")
    assert "readers 1" in names[first]
    assert f"allow_spinning {str(options['allow_spinning']).lower()}" in names[spinning]
    assert len(set(names.values())) == 4
    assert "readers" not in told_apart([more_readers])[more_readers]


def test_settings_of_sections_have_their_names() -> None:
    first = example_deployment()
    waiting = first.model_copy(update={"batch": first.batch.model_copy(update={"max_wait_s": 0.25})})
    assert told_apart([first, waiting])[waiting].endswith("batch.max_wait_s 0.25")
