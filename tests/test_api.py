"""``import autotune``: what scripts and notebooks call does what the commands do."""

import subprocess
import sys
from html import escape
from pathlib import Path

import pytest

import autotune
from autotune.api import options_of
from autotune.deploy_yaml import read_deployment_file, write_deployment_file
from autotune.errors import DocumentError
from autotune.jobs.options import TuneOptions
from autotune.planning.options import PlanOptions, Price
from tests.deployment_example import example_file


def test_importing_it_loads_nothing_heavy() -> None:
    code = "import sys, autotune; print([name for name in ('pydantic', 'numpy', 'torch') if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_options_are_the_commands_own_as_texts_or_as_values() -> None:
    given = {"max_memory": "4GiB", "slo": "p95_latency_s=0.5", "timeout_s": 90.0, "audio": "calls", "devices": "cpu"}
    options = options_of(TuneOptions, given)
    assert options.max_memory_bytes == 4 * 2**30
    assert options.slo == 0.5
    assert options.timeout_s == 90.0
    assert options.audio == Path("calls")
    assert options.devices == ("cpu",)
    plan = options_of(PlanOptions, {"demand": "2 streams", "price": "1.20/h", "availability": "n+1"})
    assert plan.prices == (Price(1.2, ""),)
    assert plan.spare == 1
    assert options_of(PlanOptions, {"hardware": "epyc-9554:16"}).hardware == ("epyc-9554:16",)


def test_an_unknown_option_is_an_error_with_a_suggestion() -> None:
    with pytest.raises(DocumentError, match=r"no option 'efort'.*effort"):
        autotune.tune(efort="quick")
    with pytest.raises(DocumentError, match="max_memory must be a size"):
        autotune.tune(max_memory="much")


def test_a_plan_of_a_file(tmp_path: Path) -> None:
    write_deployment_file(tmp_path / "deploy.yaml", example_file())
    plan = autotune.plan(tmp_path / "deploy.yaml", demand="5000 audio-hours/day", price="1.20/h", progress=False)
    assert plan.replicas >= 1
    assert plan.cost is not None
    with pytest.raises(DocumentError):
        autotune.plan(tmp_path / "deploy.yaml", demand="soon", progress=False)


@pytest.mark.slow
def test_a_study_from_a_notebook(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The example of the docs, with little audio."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    clips = sorted((Path(autotune.__file__).parent / "audio" / "clips").glob("*.ogg"))[:3]
    (tmp_path / "calls").mkdir()
    for clip in clips:
        (tmp_path / "calls" / clip.name).symlink_to(clip)
    study = autotune.tune(
        audio="calls", effort="quick", trials=4, search_space="onnxruntime", history=False, progress=False
    )
    assert study.deploy_yaml == Path("deploy.yaml")
    assert read_deployment_file(study.deploy_yaml).deployment == study.best
    html = study._repr_html_()
    assert "<table" in html
    assert study.best.describe() in html
    assert escape(str(study)) in html
    with study.load() as recognizer:
        assert recognizer.transcribe([clips[0]])[0].text
