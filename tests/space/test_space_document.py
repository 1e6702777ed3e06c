from __future__ import annotations

import re
from pathlib import Path

import pytest

from autotune.deploy_yaml.comments import COMMENTS
from autotune.errors import DocumentError
from autotune.files import search_spaces_dir
from autotune.space.document import SearchSpace
from autotune.space.loading import load_space
from autotune.space.resolving import resolve
from tests.study.synthetic_search import TINY_SPACE, machine, shipped_space

SHIPPED = {
    path.relative_to(search_spaces_dir()): path.read_text(encoding="utf-8")
    for path in search_spaces_dir().rglob("*.yaml")
}
HEAD = "schema: autotune/search-space/v1\nname: mine\ndescription: Mine.\n"


def load(folder: Path, text: str) -> SearchSpace:
    path = folder / "mine.yaml"
    path.write_text(text, encoding="utf-8")
    return load_space(str(path))


def changed_spaces(folder: Path, *changes: tuple[str, str]) -> None:
    """A copy of the shipped files, with every place changed, that include each other by path."""
    for name, shipped in SHIPPED.items():
        text = re.sub(r"(?m)^include: \[(.*)\]$", lambda found: f"include: [{by_paths(found[1])}]", shipped)
        for old, new in changes:
            text = text.replace(old, new)
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")


def by_paths(names: str) -> str:
    return ", ".join(f"{name}.yaml" for name in names.split(", "))


@pytest.mark.parametrize(
    ("correct", "typo", "message"),
    [
        ("branches:", "branchs:", r'unknown key "branchs". Did you mean "branches"'),
        ("requires_isa:", "require_isa:", r'weights.values.1.require_isa". Did you mean "requires_isa"'),
        (
            "batch.max_size: {",
            "batch.max_siz: {",
            r'common/cpu.yaml: common: unknown parameter "batch.max_siz". Did you mean "batch.max',
        ),
        ("[onnx-fp32, onnx-int8]", "[onnx-fp32, onnx-int4]", r"parameters.format: must be one of.*mean \"onnx-int8\""),
        ("engine: torchscript", "engine: torchscrpt", r"fixed.engine: must be a known engine.*mean \"torchscript\""),
        ("engine: torchscript", "engine: funasr", r"always measured as the baseline, never searched"),
        ("avx512_vnni", "avx512_vni", r"requires_isa.*known instruction set. Did you mean \"avx512_vnni\""),
        ("when: {format: onnx-int8}", "when: {fromat: onnx-int8}", r'weights.when: must name.*Did you mean "format"'),
        ("when: {format: onnx-int8}", "when: {format: onnx-int}", r'weights.when.format.*Did you mean "onnx-int8"'),
        ("when: {format: onnx-int8}\n        values", "values", r"weights must be u8, s8, s7 for onnx-int8 and null"),
        ("when: {format: onnx-int8}", "when: {weights: u8}", r"weights.when: must name a parameter of this branch"),
        ("[all, extended, basic]", "[all, extendet]", r'graph_optimization_level: must be.*Did you mean "extended"'),
        (
            "session_options.allow_spinning: {",
            "session_options.spinning: {",
            r'unknown parameter "session_options.spin',
        ),
        ("[1, 2, 4, 8, 16, 32]", "[1, 2, 4, 8, 16, '32']", r"batch.max_size: must be a whole number, but got '32'"),
        ("[1, 2, 4, 8, 16, 32]", "[1, 4, 2]", r"batch.max_size.values must ascend"),
        ("[1, 2, 4, 8, 16, 32]", "[1, 1]", r"batch.max_size.values must differ"),
        ("[1, 2, 4, 8, 16, 32]", "[0, 1, 4]", r"common.batch.max_size.*greater than or equal to 1"),
        ("[1, 2, 4, 8, 16, 32]", "[]", r"batch.max_size.values"),
        ("[1, 2, 4, 8, 16, 32]", "[[1], 2]", r"must be a number, a string, true or false, but got list"),
        ("values: [true, false]", "values: ['true', false]", r"must be one of true, false, but got 'true'"),
        ("arrival: open", "arrival: opened", r"batch.max_wait_s.arrival"),
        ("weights: [s8, s7, u8]", "weights: [s16, u8]", r"expert.weights: must be one of the searched values"),
        (
            "      weights: [s8, s7, u8]",
            "      weight: u8",
            r'expert: unknown parameter "weight". Did you mean "weights"',
        ),
        ("arrival: closed}, 4]}", "arrival: closed}, 3]}", r"common.batch.max_size.expert: must be one of.*got 3"),
        ("8, 16, 32], expert: [", "8, 16, 32], exprt: [", r'batch.max_size.exprt". Did you mean "expert"'),
        ("device: cpu\ninclude", "device: gpu\ninclude", r"device"),
        ("requires_isa: [avx", "requires: rocm, requires_isa: [avx", r"requires"),
        ("unless_isa: *dot_products", "unless_isa: [avx512_vni]", r"unless_isa.*known instruction set"),
        ("requires: openvino", "requires: openvno", r"requires"),
        ("schema: autotune/search-space/v1", "schema: autotune/search-space/v2", r"schema"),
        ("engine: onnxruntime, device: cpu}", "engine: onnxruntime}", r'fixed must hold "device"'),
        (
            "  batch.max_size: {values: [1, 2, 4, 8, 16, 32], expert: [{value: 1, arrival: closed}, 4]}\n",
            "",
            r"must fix or search batch.max_size",
        ),
        ("[fixed, vad, {value", "[fixed, funasr, {value", r"chunking.method: must be one of none, fixed, vad"),
        ("{value: none, arrival: open}", "{value: none, arival: open}", r'Did you mean "arrival"'),
        ("{value: none, arrival: open}", "{value: none, arrival: opened}", r"chunking.method.values.2.arrival"),
        (
            "    when: {chunking.method: fixed}\n    values:\n",
            "    values:\n",
            r"window_s must be null for method 'vad'",
        ),
        (", when: {chunking.method: vad}, expert: 30}", ", expert: 30}", r"max_segment_s must be null"),
        ("values: silero", "values: 7", r'vad_model: must be "silero" or the path of a directory, but got 7'),
        ("[10, 15, 20, 30, 60], when", "[0.5, 15, 20, 30, 60], when", r"max_segment_s must be in 1..3600 seconds"),
    ],
)
def test_typos_name_file_path_and_the_nearest_word(tmp_path: Path, correct: str, typo: str, message: str) -> None:
    assert any(correct in text for text in SHIPPED.values())
    changed_spaces(tmp_path, (correct, typo))
    with pytest.raises(DocumentError, match=message) as caught:
        load_space(str(tmp_path / "cpu.yaml"))
    assert str(tmp_path) in str(caught.value)


def test_circular_conditions_are_refused(tmp_path: Path) -> None:
    circle = (
        TINY_SPACE.replace("    expert: {batch.max_size: 4}\n", "")
        .replace("[instant, 1000x, 100x]}", "[instant, 1000x], when: {batch.max_size: 1}}")
        .replace("[1, 2, 4, 8]}", "[1, 2], when: {session_options.speed: instant}}")
    )
    with pytest.raises(DocumentError, match="must not form a circle"):
        load(tmp_path, circle)


def test_provider_options_are_spelt_as_strings(tmp_path: Path) -> None:
    changed_spaces(tmp_path, ('use_tf32: "0"', "use_tf32: 0"))
    with pytest.raises(DocumentError, match='use_tf32: must be one of "0", "1", but got 0'):
        load_space(str(tmp_path / "gpu.yaml"))
    changed_spaces(tmp_path, ("use_tf32", "use_tf23"))
    with pytest.raises(DocumentError, match=r'Did you mean "provider_options.use_tf32"'):
        load_space(str(tmp_path / "gpu.yaml"))


def test_unknown_name_lists_the_shipped_ones() -> None:
    with pytest.raises(DocumentError, match=r'one of all, cpu, gpu.*but got "cpus". Did you mean "cpu"'):
        load_space("cpus")
    with pytest.raises(DocumentError, match=r'but got "openvin". Did you mean "openvino"'):
        load_space("openvin")
    with pytest.raises(DocumentError, match=r"common/gpu.yaml.*at least one branch"):
        load_space("common/gpu")
    with pytest.raises(DocumentError, match=r"absent.yaml must be a readable"):
        load_space("absent.yaml")


def test_includes_merge_branches(tmp_path: Path) -> None:
    (tmp_path / "tiny.yaml").write_text(TINY_SPACE, encoding="utf-8")
    space = resolve(load(tmp_path, HEAD + "include: [cpu, tiny.yaml]\n"), machine(), devices=None, arrival="open")
    assert [branch.name for branch in space.branches][-1] == "fake-cpu"
    assert len(space.branches) == len(shipped_space().branches) + 1
    with pytest.raises(DocumentError, match="must not hold the branch"):
        load(tmp_path, HEAD + "include: [cpu, onnxruntime]\n")
    with pytest.raises(DocumentError, match="at least one branch"):
        load(tmp_path, HEAD)
    with pytest.raises(DocumentError, match=r'mine.yaml: include: the search space.*Did you mean "pytorch"'):
        load(tmp_path, HEAD + "include: pytroch\n")


def test_includes_in_a_circle_are_refused(tmp_path: Path) -> None:
    (tmp_path / "other.yaml").write_text(HEAD + "include: ./mine.yaml\n", encoding="utf-8")
    with pytest.raises(DocumentError, match=r"other.yaml: include: .*circle, but got \S+mine.yaml → \S+other.yaml → "):
        load(tmp_path, HEAD + "include: other.yaml\n")
    with pytest.raises(DocumentError, match=r"circle, but got \S+mine.yaml → \S+mine.yaml"):
        load(tmp_path, HEAD + "include: mine.yaml\n")


def test_a_device_keeps_its_branches_alone(tmp_path: Path) -> None:
    assert list(load(tmp_path, HEAD + "device: cuda\ninclude: onnxruntime\n").branches) == ["onnxruntime-cuda"]
    with pytest.raises(DocumentError, match="at least one branch on cuda"):
        load(tmp_path, HEAD + "device: cuda\ninclude: openvino\n")
    with pytest.raises(DocumentError, match=r"branches.fake-cpu.fixed.device must be cuda.*but got cpu"):
        load(tmp_path, TINY_SPACE.replace("name: tiny", "name: tiny\ndevice: cuda"))


def test_what_is_shared_gives_way_to_the_files_own(tmp_path: Path) -> None:
    branch = """
branches:
  mine-cpu:
    fixed: {engine: pytorch, format: pytorch-fp32, device: cpu, session_options.precision: fp32, pinning: false}
    parameters:
      batch.max_audio_s: {values: [10, 20], expert: 10}
    expert: {instances: 2}
"""
    common = "common:\n  batch.max_size: {values: [1, 2], expert: 2}\n"
    text = HEAD + "include: [common/gpu, common/cpu, common/chunking]\n" + common + branch
    mine = load(tmp_path, text).branches["mine-cpu"]
    values = {path: [choice.value for choice in item.values] for path, item in mine.parameters.items()}
    assert values["instances"] == ["cores"]
    assert values["batch.max_size"] == [1, 2]
    assert values["batch.max_audio_s"] == [10, 20]
    assert "pinning" not in values
    experts = {path: [choice.value for choice in choices] for path, choices in mine.expert.items()}
    assert experts["instances"] == [2]
    assert experts["batch.max_size"] == [2]
    assert experts["batch.max_audio_s"] == [10]
    assert experts["intra_op_num_threads"] == [1, "cores"]
    (tmp_path / "whole.yaml").write_text(text, encoding="utf-8")
    other = branch.replace("mine-cpu", "other-cpu")
    with pytest.raises(DocumentError, match=r"branches.other-cpu.expert: unknown parameter \"instances\""):
        load(tmp_path, HEAD + "include: whole.yaml\n" + other)  # the common of a file with branches is for those alone


def test_a_value_that_only_other_cpus_have_takes_its_condition_along(tmp_path: Path) -> None:
    changed_spaces(
        tmp_path,
        ("          - u8\n", ""),
        ("          - {value: s7, unless_isa: *dot_products}\n", ""),
        ("[s8, s7, u8]", "s8"),
    )
    space = resolve(
        load_space(str(tmp_path / "onnxruntime.yaml")), machine(isa=["avx2"]), devices=None, arrival="closed"
    )
    assert space.branches[0].choices("format") == ("onnx-fp32",)
    assert "onnxruntime-cpu: format=onnx-int8" in {item.what for item in space.dropped}


def test_every_shipped_parameter_is_documented() -> None:
    text = (Path(__file__).parents[2] / "docs" / "search-space.md").read_text(encoding="utf-8")
    space = load_space("all")
    named = {path for branch in space.branches.values() for path in (*branch.parameters, *branch.fixed)}
    assert len(named) > 15
    assert [path for path in sorted(named) if f"`{path}`" not in text and f"deployment.{path}" not in COMMENTS] == []
    files = [str(name.with_suffix("")) for name in SHIPPED]
    assert [name for name in (*space.branches, *files) if f"`{name}`" not in text] == []


def test_the_documented_examples_load(tmp_path: Path) -> None:
    text = (Path(__file__).parents[2] / "docs" / "search-space.md").read_text(encoding="utf-8")
    whole, short = (load(tmp_path, block) for block in re.findall(r"```yaml\n(.*?)```", text, flags=re.DOTALL))
    (expert,) = resolve(whole, machine(4), devices=None, arrival="closed").experts()
    assert (expert.weights, expert.instances, expert.intra_op_num_threads, expert.batch.max_size) == ("s8", 4, 1, 4)
    (expert,) = resolve(whole, machine(4), devices=None, arrival="open").experts()
    assert (expert.instances, expert.intra_op_num_threads) == (1, 4)
    assert list(short.branches) == ["pytorch-in-windows", "onnxruntime-cpu", "openvino-cpu"]
