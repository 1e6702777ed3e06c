"""Instances keep to CPUs of their own, where that was asked for."""

import os
import threading

import pytest

from autotune.deployment import Deployment
from autotune.errors import DocumentError
from autotune.recognizer.dispatcher import instance_cpus, keep_on, placed_on
from tests.fake_engine import fake_deployment


def test_each_instance_gets_as_many_cpus_as_it_has_threads() -> None:
    pinned = fake_deployment(instances=2, intra_op_num_threads=3, pinning=True)
    assert instance_cpus(pinned, [0, 2, 4, 5, 6, 7, 9]) == [(0, 2, 4), (5, 6, 7)]


def test_a_runtime_that_pins_itself_sees_all_cpus() -> None:
    fields = fake_deployment(instances=2, pinning=True).model_dump()
    fields |= {"engine": "openvino", "format": "onnx-fp32", "graph": "lean"}
    assert instance_cpus(Deployment.model_validate(fields), [0, 1]) == [None, None]


def test_without_pinning_nobody_is_bound() -> None:
    assert instance_cpus(fake_deployment(instances=3), [0]) == [None] * 3
    keep_on(None)
    with placed_on(None):
        pass


def test_more_threads_than_cpus_is_an_error_that_says_what_to_do() -> None:
    with pytest.raises(DocumentError, match=r"CPU for each of 4 threads .* may use 3\. .* pinning: false"):
        instance_cpus(fake_deployment(instances=4, pinning=True), [0, 1, 2])


def test_threads_started_meanwhile_stay_where_they_were_started() -> None:
    before = os.sched_getaffinity(0)
    cpu = max(before)
    seen: list[set[int]] = []
    with placed_on((cpu,)):
        started = threading.Thread(target=lambda: seen.append(os.sched_getaffinity(0)))
        started.start()
        started.join()
    assert seen == [{cpu}]
    assert os.sched_getaffinity(0) == before
