"""The floors of docs/architecture.md, and what the tuner's own process may import."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "autotune"

FLOORS = [
    ["errors"],
    ["paths", "metrics", "documents", "reporting", "file_cache", "redaction"],
    ["deployment", "model_directory", "hardware"],
    ["isolation"],
    ["audio"],
    ["engines"],
    ["models"],
    ["recognizer"],
    ["measure"],
    ["accuracy"],
    ["search"],
    ["deployment_file"],
    [
        *("render", "plan", "loading", "outcome", "winners", "exporting", "trial_runner", "confirming"),
        *("tuning_job", "tuning", "preparing", "reasons", "rechecking", "measuring", "loadgen"),
    ],
    ["serve"],
    ["cli"],
]
FLOOR_OF = {name: number for number, names in enumerate(FLOORS) for name in names}
HEAVY = {"torch", "funasr", "onnxruntime", "onnx", "openvino", "nncf", "silero_vad"}


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def part_of(path: Path) -> str:
    relative = path.relative_to(PACKAGE)
    return relative.parts[0].removesuffix(".py")


def imports(tree: ast.AST) -> list[str]:
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            found += [f"{node.module}.{alias.name}" for alias in node.names]
    return found


def test_every_part_has_a_floor() -> None:
    parts = {part_of(path) for path in modules()} - {"__init__", "__main__"}
    assert parts == set(FLOOR_OF)


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_upwards_only(path: Path) -> None:
    part = part_of(path)
    if part in ("__init__", "__main__"):
        return
    for name in imports(ast.parse(path.read_text(encoding="utf-8"))):
        words = name.split(".")
        if words[0] == "autotune" and len(words) > 1 and words[1] in FLOOR_OF:
            assert FLOOR_OF[words[1]] <= FLOOR_OF[part], f"{part} must not import {name}"
            if FLOOR_OF[words[1]] == FLOOR_OF[part] and words[1] != part:
                sideways = {("documents", "errors")}
                assert (part, words[1]) in sideways or not _imports_back(words[1], part), f"{part} ⇄ {words[1]}"


def _imports_back(part: str, other: str) -> bool:
    files = [path for path in modules() if part_of(path) == part]
    return any(
        name.startswith(f"autotune.{other}")
        for path in files
        for name in imports(ast.parse(path.read_text(encoding="utf-8")))
    )


def test_modules_form_no_cycle() -> None:
    graph: dict[str, set[str]] = {}
    names = {".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for path in modules()}
    for path in modules():
        module = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        tree = ast.parse(path.read_text(encoding="utf-8"))
        top_level = [node for node in tree.body if isinstance(node, (ast.Import, ast.ImportFrom))]
        targets = set()
        for name in imports(ast.Module(body=list(top_level), type_ignores=[])):
            target = name
            while target and target not in names:
                target = target.rpartition(".")[0]
            if target and target != module and not module.startswith(f"{target}."):
                targets.add(target)
        graph[module] = targets
    done: set[str] = set()

    def visit(module: str, path: tuple[str, ...]) -> None:
        assert module not in path, " → ".join([*path, module])
        if module in done:
            return
        for target in graph.get(module, ()):
            visit(target, (*path, module))
        done.add(module)

    for module in graph:
        visit(module, ())


def run_python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_tuner_process_imports_no_runtime() -> None:
    code = f"""
import sys, pkgutil, importlib
import autotune.cli, autotune.tuning, autotune.loading, autotune.search, autotune.models, autotune.measure
import autotune.render, autotune.plan, autotune.recognizer, autotune.engines, autotune.audio, autotune.loadgen
for table in (autotune.cli,):
    for info in pkgutil.walk_packages(table.__path__, table.__name__ + "."):
        importlib.import_module(info.name)
print(sorted({HEAVY!r} & set(sys.modules)))
"""
    assert run_python(code).strip() == "[]"


def test_help_answers_without_heavy_imports() -> None:
    code = """
import sys
sys.argv = ["autotune", "--help"]
from autotune.cli import main
try:
    main()
except SystemExit:
    pass
heavy = {"optuna", "numpy", "scipy", "pydantic", "soundfile", "psutil", "torch", "onnxruntime"} & set(sys.modules)
print("HEAVY", sorted(heavy))
"""
    assert "HEAVY []" in run_python(code)
