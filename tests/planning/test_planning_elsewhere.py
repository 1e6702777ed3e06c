"""Plans for machines that aren't here: what follows from rates, where nothing is said, and what is written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from autotune.cli import main
from autotune.deploy_yaml import DeploymentFile, HardwareRecord, read_deployment_file, write_deployment_file
from autotune.deployment import Batch, baseline_deployment
from autotune.errors import CantPredictError, DocumentError
from autotune.hardware import HardwareProfile
from autotune.planning.alternatives import on_hardware
from autotune.planning.capacity import notes_of
from autotune.planning.demand import parse_demand
from autotune.planning.elsewhere import elsewhere, scaled_deployment, scaled_times, tier_of
from autotune.planning.library import hardware_of, names
from autotune.planning.options import PlanOptions
from autotune.probe.document import HardwareFile, Rate, Reference, hardware_yaml
from tests.deployment_example import example_deployment, example_file
from tests.simulation.test_simulation_server import times

VNNI = ("avx2", "avx512_vnni", "avx512f")


def machine(cores: int = 2, *, flops: float = 400e9, loop_s: float = 0.003, **changes: Any) -> HardwareFile:
    """Whose every core multiplies 8-bit integers as fast, and floats a quarter of that, however many are busy."""
    hardware = HardwareProfile(
        cpu=f"Example {cores}",
        architecture="x86_64",
        usable_cores=cores,
        cpus=tuple(range(cores)),
        logical_cores=cores,
        isa=changes.pop("isa", VNNI),
        memory_bytes=changes.pop("memory_bytes", cores * (4 << 30)),
        gpus=(),
    )
    shape = {"rows": 1024, "inputs": 512, "outputs": 2048}
    rates = [
        Rate(engine=engine, precision=precision, threads=threads, flops=flops * threads * share, **shape)
        for engine in ("onnxruntime", "openvino", "pytorch")
        for precision, share in (("int8", 1.0), ("fp32", 0.25), ("bf16", 0.5))
        for threads in dict.fromkeys((1, cores))
    ]
    return HardwareFile(
        fingerprint=hardware.fingerprint, hardware=hardware, rates=tuple(rates), loop_s=loop_s, **changes
    )


HERE = machine()


def file(**changes: Any) -> DeploymentFile:
    """Of two instances of one thread, with service times."""
    deployment = example_deployment(batch=Batch(max_size=1, max_audio_s=60.0, max_wait_s=0.0))
    plain = {
        "deployment": deployment,
        "hardware": HardwareRecord.of(HERE.hardware),
        "service_times": times(0.05, engines=2).model_copy(update={"products": 0.75}),
        "probe": HERE,
    }
    return example_file(**{**plain, **changes})


def test_the_same_machine_again_is_as_fast() -> None:
    same = elsewhere(file(), HERE, HERE)
    assert same.measurement.rtfx.median == pytest.approx(file().measurement.rtfx.median, rel=0.02)
    assert same.predicted is not None
    assert same.predicted.tier == "probe"


def test_products_go_by_their_rate_and_the_rest_by_the_loop() -> None:
    """Three quarters of the seconds halve, the last quarter takes two thirds."""
    there = machine(flops=800e9, loop_s=0.002)
    moved = scaled_times(file().service_times, file().deployment, HERE, there)  # type: ignore[arg-type]
    was = {(point.size, point.padded_s): point.seconds for point in file().service_times.points}  # type: ignore[union-attr]
    for point in moved.points:
        expected = was[point.size, point.padded_s] * (0.75 / 2 + 0.25 * 2 / 3)
        assert point.seconds == pytest.approx(expected)
    assert moved.reading.features == pytest.approx(file().service_times.reading.features * 2 / 3)  # type: ignore[union-attr]


def test_more_cores_mean_more_instances_and_as_many_times_the_speed() -> None:
    there = machine(16)
    moved = scaled_deployment(file().deployment, 2, 16)
    assert (moved.instances, moved.intra_op_num_threads) == (16, 1)
    found = elsewhere(file(), HERE, there)
    assert found.deployment == moved
    assert found.measurement.rtfx.median == pytest.approx(8 * file().measurement.rtfx.median, rel=0.1)
    assert found.measurement.peak_memory_bytes > file().measurement.peak_memory_bytes
    assert found.hardware.usable_cores == 16


def test_cores_that_slow_each_other_down_are_counted_so() -> None:
    """All 16 together multiply only as much as eight alone."""
    there = machine(16)
    rates = tuple(
        rate.model_copy(update={"flops": rate.flops / 2}) if rate.threads == 16 else rate for rate in there.rates
    )
    found = elsewhere(file(), HERE, there.model_copy(update={"rates": rates}))
    plain = elsewhere(file(), HERE, there)
    assert 0.5 < found.measurement.rtfx.median / plain.measurement.rtfx.median < 0.65


def test_a_probe_that_was_made_under_load_is_told() -> None:
    busy = machine(4).model_copy(update={"disturbances": ("A CPU was away for 40% of the time.",)})
    notes = [notes_of(elsewhere(file(), HERE, there), parse_demand("10 streams")) for there in (busy, machine(4))]
    told, quiet = (" ".join(one) for one in notes)
    assert "too low" in told
    assert "A CPU was away for 40%" in told
    assert "too low" not in quiet


@pytest.mark.parametrize(
    ("there", "document", "missing"),
    [
        (machine(isa=("avx2",)), file(), "kernels for 8 bits are others there"),
        (machine(isa=("amx_int8", *VNNI)), file(), "kernels for 8 bits are others there"),
        (machine(loop_s=0.003).model_copy(update={"loop_s": None}), file(), "Probe it again"),
        (machine(flops=40e9), file(), "so far apart"),
        (
            machine().model_copy(update={"rates": (), "skipped": {"onnxruntime": "not installed"}}),
            file(),
            "not installed",
        ),
        (machine(16), file(service_times=None), "service times"),
    ],
)
def test_what_was_never_compared_is_not_predicted(there: HardwareFile, document: DeploymentFile, missing: str) -> None:
    with pytest.raises(CantPredictError, match=missing):
        elsewhere(document, HERE, there)


def test_fp32_crosses_instruction_sets_only_with_a_probe() -> None:
    deployment = example_deployment(
        format="onnx-fp32", weights=None, batch=Batch(max_size=1, max_audio_s=60.0, max_wait_s=0.0)
    )
    document = file(deployment=deployment)
    old = machine(isa=("avx2",), flops=200e9)
    assert elsewhere(document, HERE, old).measurement.rtfx.median < document.measurement.rtfx.median
    with pytest.raises(CantPredictError, match="nobody has probed it"):
        elsewhere(document, HERE, old.model_copy(update={"spec_sheet": "https://example.org"}))


def test_a_reference_trial_corrects_what_rates_say() -> None:
    reference = {"engine": "onnxruntime", "format": "onnx-int8", "instances": 2, "threads": 1}
    here = HERE.model_copy(update={"references": (Reference(**reference, rtfx=100.0),)})
    there = machine(loop_s=0.003).model_copy(update={"references": (Reference(**reference, rtfx=120.0),)})
    assert tier_of(file().deployment, here, there) == "probe and trials"
    found = elsewhere(file(), here, there)
    assert found.measurement.rtfx.median == pytest.approx(1.2 * file().measurement.rtfx.median, rel=0.05)


def test_the_library_names_its_machines_and_takes_some_of_their_cores() -> None:
    assert "epyc-9554" in names()
    part = hardware_of("epyc-9554:16")
    assert part.hardware.usable_cores == 16
    assert part.spec_sheet is not None
    assert part.spec_sheet.startswith("https://")
    for text, problem in (("epyc-9554:65", "1 to 64"), ("epyc-9555", "epyc-9554"), ("h100", "spec sheet has neither")):
        with pytest.raises(DocumentError, match=problem):
            hardware_of(text)
    for name in names():
        assert hardware_of(name).rate("onnxruntime", "fp32", 1)


def test_several_machines_are_planned_and_those_that_cannot_be_are_named(tmp_path: Path) -> None:
    (tmp_path / "big.yaml").write_text(hardware_yaml(machine(16)), encoding="utf-8")
    (tmp_path / "old.yaml").write_text(hardware_yaml(machine(4, isa=("avx2",))), encoding="utf-8")
    (tmp_path / "here.yaml").write_text(hardware_yaml(HERE), encoding="utf-8")
    machines = tuple(str(tmp_path / name) for name in ("big.yaml", "old.yaml"))
    found, refused = on_hardware([("a.yaml", file())], PlanOptions(hardware=machines))
    assert [name for name, _ in found] == [f"a.yaml on {machines[0]}"]
    assert "old.yaml: int8 runs on avx512_vnni here" in refused[0]
    with pytest.raises(CantPredictError):
        on_hardware([("a.yaml", file())], PlanOptions(hardware=machines[1:]))
    with pytest.raises(CantPredictError, match="holds no probe"):
        on_hardware([("a.yaml", file(probe=None))], PlanOptions(hardware=machines))
    with_given, _ = on_hardware(
        [("a.yaml", file(probe=None))], PlanOptions(hardware=machines, measured_on=tmp_path / "here.yaml")
    )
    assert with_given[0][1].measurement == found[0][1].measurement


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as ended:
        main(["plan", *map(str, arguments)])
    return int(ended.value.code or 0)


def test_the_command_writes_a_predicted_file_and_says_how_far_to_trust_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_deployment_file(tmp_path / "deploy.yaml", file())
    for cores in (4, 16):
        (tmp_path / f"m{cores}.yaml").write_text(hardware_yaml(machine(cores)), encoding="utf-8")
    asked = [tmp_path / "deploy.yaml", "--demand", "100000 audio-hours/day", "--price", "0.2/h,0.5/h"]
    asked += ["--hardware", tmp_path / "m4.yaml", "--hardware", tmp_path / "m16.yaml"]
    assert run(*asked, "--write-deploy", tmp_path / "there.yaml", "--json") == 0
    plan = json.loads(capsys.readouterr().out)
    assert plan["file"].endswith("m16.yaml"), "four times as fast for two and a half times the price"
    assert plan["provenance"]["rtfx_used"] == "predicted"
    assert any("predicted, by probe" in note for note in plan["notes"])
    assert len(plan["compared"]) == 1
    written = read_deployment_file(tmp_path / "there.yaml")
    assert written.predicted is not None
    assert written.hardware.usable_cores == 16
    assert written.predicted.measured_on == HERE.fingerprint
    assert run(*asked) == 0
    assert "predicted, by probe" in capsys.readouterr().out


def test_writing_without_hardware_and_a_baseline_are_errors(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_deployment_file(tmp_path / "deploy.yaml", file())
    asked = [tmp_path / "deploy.yaml", "--demand", "5 audio-hours/day"]
    assert run(*asked, "--write-deploy", tmp_path / "x.yaml") == 2
    assert "--hardware" in capsys.readouterr().err
    automodel = file(deployment=baseline_deployment(ncpu=2), service_times=None, artifact=None)
    write_deployment_file(tmp_path / "auto.yaml", automodel)
    assert run(tmp_path / "auto.yaml", "--demand", "5 audio-hours/day", "--hardware", "epyc-9554") == 1
    assert "service times" in capsys.readouterr().err
