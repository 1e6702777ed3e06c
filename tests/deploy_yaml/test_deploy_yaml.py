import json
import subprocess
import sys
from datetime import timedelta, timezone
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from autotune.deploy_yaml import (
    DeploymentFile,
    HardwareRecord,
    read_deployment_file,
    schema_text,
    write_deployment_file,
    yaml_text,
)
from autotune.deploy_yaml.comments import COMMENTS
from autotune.deploy_yaml.document import SCHEMA
from autotune.deployment import Deployment, Punctuation
from autotune.documents import parse_document
from autotune.engines import ENGINES, engine_class
from autotune.errors import DocumentError
from autotune.hardware import HardwareProfile
from autotune.simulation.service_times import ServiceTimes
from tests.deployment_example import example_deployment, example_file

ROOT = Path(__file__).parents[2]

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
zones = st.integers(-719, 719).map(lambda minutes: timezone(timedelta(minutes=minutes)))
positive = st.floats(min_value=1e-300, max_value=1e300)
intervals = st.lists(positive, min_size=3, max_size=3).map(
    lambda values: dict(zip(("low", "median", "high"), sorted(values), strict=True))
)


@st.composite
def documents(draw: st.DrawFn) -> DeploymentFile:
    data = example_file().to_json()
    data["model"] |= {"id": draw(texts), "path": draw(texts), "revision": draw(st.none() | texts)}
    data["audio_profile"] |= {"name": draw(texts), "seed": draw(st.integers()), "audio_s": draw(positive)}
    data["hardware"] |= {"cpu": draw(texts), "isa": draw(st.lists(texts, max_size=3))}
    data["hardware"]["gpus"] = [
        {"index": i, "name": draw(texts), "memory_bytes": 80, "compute_capability": "9.0", "driver": draw(texts)}
        for i in range(draw(st.integers(0, 2)))
    ]
    data["deployment"]["session_options"] = draw(st.dictionaries(texts, texts | st.booleans(), max_size=3))
    data["measurement"] |= {"rtfx": draw(intervals), "noise": draw(st.dictionaries(texts, positive, max_size=3))}
    data["measurement"]["stages"] = draw(
        st.dictionaries(st.sampled_from(["read", "chunk", "features", "engine", "decode"]), positive)
    )
    data["speedup"] = draw(intervals)
    data["provenance"] |= {"command": draw(texts), "packages": draw(st.dictionaries(texts, texts, max_size=3))}
    data["provenance"]["date"] = draw(st.datetimes(timezones=zones)).isoformat()
    return parse_document(data, DeploymentFile, where="strategy")


@given(document=documents())
@settings(max_examples=80, deadline=None)
def test_yaml_round_trip_is_lossless(document: DeploymentFile, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.getbasetemp() / "round_trip.yaml"
    write_deployment_file(path, document)
    assert read_deployment_file(path) == document
    assert yaml.safe_load(path.read_text(encoding="utf-8")) == document.to_json()


@given(document=documents())
@settings(max_examples=50, deadline=None)
def test_json_round_trip_is_lossless(document: DeploymentFile) -> None:
    data = json.loads(json.dumps(document.to_json(), allow_nan=False))
    assert parse_document(data, DeploymentFile, where="json") == document
    assert data["schema"] == SCHEMA


def test_baseline_document_round_trips(tmp_path: Path) -> None:
    document = example_file(recommended="baseline")
    write_deployment_file(tmp_path / "deploy.yaml", document)
    assert read_deployment_file(tmp_path / "deploy.yaml") == document
    assert document.speedup is None
    assert document.deployment.engine == "funasr"


def fields_of(model: Any, prefix: str) -> list[str]:
    paths = []
    for name, field in model.model_fields.items():
        paths.append(f"{prefix}.{name}")
        if hasattr(field.annotation, "model_fields"):
            paths += fields_of(field.annotation, paths[-1])
    return paths


@pytest.mark.parametrize("path", fields_of(Deployment, "deployment"))
def test_every_deployment_field_has_a_comment(path: str) -> None:
    assert path in COMMENTS


@pytest.mark.parametrize("section", ["measurement", "speedup"])
def test_measurement_and_speedup_have_comments(section: str) -> None:
    assert section in COMMENTS
    keys = example_file().to_json()[section] if section == "measurement" else []
    assert {f"{section}.{key}" for key in keys} <= set(COMMENTS)


def values_of(path: str) -> tuple[Any, ...]:
    model: Any = DeploymentFile
    for name in path.split("."):
        if not hasattr(model, "model_fields"):  # X | None
            model = next(choice for choice in get_args(model) if choice is not type(None))
        annotation = model.model_fields[name].annotation
        model = annotation
    if annotation is bool:
        return (True, False)
    found: list[Any] = []
    for argument in get_args(annotation):
        found += get_args(argument) or [None if argument is type(None) else argument]
    return tuple(found)


@pytest.mark.parametrize(
    "path",
    [path for path, text in COMMENTS.items() if isinstance(text, dict) and "session_options" not in path],
)
def test_comments_by_value_cover_exactly_the_choices(path: str) -> None:
    text = COMMENTS[path]
    assert isinstance(text, dict)
    assert set(text) == set(values_of(path))


def test_comments_are_on_the_lines_of_their_keys() -> None:
    lines = yaml_text(example_file()).splitlines()
    (weights,) = [line for line in lines if line.startswith("  weights: s8")]
    assert weights == "  weights: s8  # signed 8-bit weights: lets ONNX Runtime use VNNI or AMX"
    (speedup,) = [line for line in lines if line.startswith("speedup:")]
    assert "against the baseline" in speedup
    (spinning,) = [line for line in lines if "allow_spinning" in line]
    assert spinning.endswith("# idle threads sleep")
    assert max(len(line) for line in lines if not line.startswith("reason:")) <= 120


def test_no_comment_is_for_a_key_that_does_not_exist() -> None:
    data = example_file().to_json()
    data["deployment"]["session_options"] = {key: "" for name in ENGINES for key in engine_class(name).SESSION_OPTIONS}
    data["artifact"]["calibration"] = CALIBRATION
    data["service_times"] = ServiceTimes.model_fields
    data |= {"vad_sha256": "", "punctuation_times": (), "probe": {}, "predicted": {}}
    data["audio_profile"]["hot_words"] = []
    data["deployment"]["punctuation"] = Punctuation.model_fields
    for path in COMMENTS:
        here: Any = data
        for name in path.split("."):
            assert name in here, path
            here = here[name]


CALIBRATION = {"source": "workload", "segments": 11, "audio_s": 91.5, "sha256": "0" * 64}


def write(path: Path, change: dict[str, Any], *, remove: str | None = None) -> Path:
    data = example_file().to_json()
    for dotted, value in change.items():
        here = data
        *parents, last = dotted.split(".")
        for name in parents:
            here = here[name]
        here[last] = value
    if remove:
        del data[remove]
    path.write_text(yaml.safe_dump(data), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        ({"deployment.instance": 2}, ['"deployment.instance"', 'Did you mean "instances"?']),
        ({"deployment.batch.maxsize": 2}, ['"deployment.batch.maxsize"', 'Did you mean "max_size"?']),
        ({"measurment": {}}, ['"measurment"', 'Did you mean "measurement"?']),
        ({"deployment.engine": "onnx"}, ['"deployment.engine"', "onnxruntime"]),
        ({"measurement.rtfx.low": 100.0}, ['"measurement.rtfx"', "low ≤ median ≤ high"]),
        ({"measurement.rtfx.low": float("nan")}, ['"measurement.rtfx.low"']),
        ({"measurement.cer.rate.low": 1.0}, ['"measurement.cer.rate"', "low ≤ value ≤ high"]),
        ({"measurement.cer.alowed": 1.0}, ['"measurement.cer.alowed"', 'Did you mean "allowed"?']),
        ({"baseline.cer.verdict": "fine"}, ['"baseline.cer.verdict"', "unclear"]),
        ({"measurement.accuracy": "not checked"}, ['"measurement"', "with a cer"]),
        ({"speedup": None}, ["speedup must be null when"]),
        ({"recommended": "baseline", "speedup": None}, ["deployment must be baseline.deployment"]),
        ({"artifact.format": "onnx-fp32"}, ["artifact.format must be the deployment's 'onnx-int8'"]),
        ({"artifact.calibration": CALIBRATION}, ["artifact.calibration must be given for openvino-int8, and null"]),
        ({"artifact.calibration": {**CALIBRATION, "sha256": "../../etc"}}, ['"artifact.calibration.sha256"']),
        ({"provenance.date": "2026-08-30T12:00:00"}, ['"provenance.date"', "timezone"]),
        ({"measurement.stages.encode": 1.0}, ["measurement.stages", "'read'"]),
        ({"schema": "autotune/deployment/v2"}, ['must be "autotune/deployment/v1"', "'autotune/deployment/v2'"]),
    ],
)
def test_wrong_content_names_file_key_and_remedy(tmp_path: Path, change: dict[str, Any], parts: list[str]) -> None:
    path = write(tmp_path / "deploy.yaml", change)
    with pytest.raises(DocumentError) as caught:
        read_deployment_file(path)
    for part in [str(path), *parts]:
        assert part in str(caught.value)


def test_missing_schema_is_told_before_everything_else(tmp_path: Path) -> None:
    path = write(tmp_path / "deploy.yaml", {"shema": SCHEMA}, remove="schema")
    with pytest.raises(DocumentError, match=r'"schema" must be .* Did you mean "shema"'):
        read_deployment_file(path)


@pytest.mark.parametrize("text", ["", "- 1\n", "a: [", "just text"])
def test_files_that_are_no_mapping_are_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "deploy.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(DocumentError, match=r"deploy\.yaml"):
        read_deployment_file(path)


def test_absent_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DocumentError, match="readable"):
        read_deployment_file(tmp_path / "deploy.yaml")


def test_hardware_record_holds_the_whole_profile() -> None:
    assert set(HardwareRecord.model_fields) == set(HardwareProfile.model_fields) | {"fingerprint"}
    profile = example_file().hardware.profile()
    assert HardwareRecord.of(profile) == example_file().hardware
    assert profile.fingerprint == example_file().hardware.fingerprint


def test_example_changes_are_validated() -> None:
    deployment = example_deployment(format="onnx-fp32", weights=None)
    assert example_file(deployment=deployment).artifact is None
    with pytest.raises(ValueError, match="weights must be u8, s8, s7"):
        example_deployment(weights=None)


def test_published_schema_is_current() -> None:
    published = ROOT / "docs" / "schemas" / "deployment-v1.json"
    assert published.read_text(encoding="utf-8") == schema_text(), (
        "regenerate with: python -c 'from autotune.deploy_yaml import schema_text as s; print(s(), end=str())' "
        "> docs/schemas/deployment-v1.json"
    )


def test_documentation_names_every_top_level_key() -> None:
    page = (ROOT / "docs" / "deploy-yaml.md").read_text(encoding="utf-8")
    for name, field in DeploymentFile.model_fields.items():
        assert f"`{field.alias or name}`" in page


def test_documentation_shows_the_deployment_section_as_it_is_written() -> None:
    page = (ROOT / "docs" / "deploy-yaml.md").read_text(encoding="utf-8")
    text = yaml_text(example_file())
    section = text[text.index("\ndeployment:") + 1 : text.index("\nmeasurement:") + 1]
    assert section in page


def test_reading_a_deployment_file_loads_no_runtime() -> None:
    code = (
        "import sys, autotune.deploy_yaml, autotune.render, autotune.planning;"
        "print(sorted({'torch', 'funasr', 'onnxruntime', 'onnx'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
