"""The floors of docs/architecture.md, and what the tuner's own process may import."""

import ast
import functools
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "autotune"

FLOORS = [
    ["arrays", "digests", "early_stopping", "errors", "formats", "intervals", "redaction", "reporting", "version"],
    ["documents", "files", "hot_words", "isolation", "options"],
    ["audio", "deployment", "hardware", "model_directory"],
    ["accuracy", "engines"],
    ["baselines", "models", "recognizer", "space"],
    ["simulation"],
    ["measure"],
    ["probe", "study"],
    ["deploy_yaml", "proof"],
    ["jobs", "planning", "render", "serve"],
    ["doctor", "explain", "loadgen", "report"],
    ["cli"],
    ["api"],
]
"""Rooms (subpackages and single modules of the package) from the ground up: each imports from floors below its own."""
FLOOR_OF = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
ENTRANCES = {"__init__", "__main__"}
HEAVY = {"torch", "funasr", "onnxruntime", "onnx", "openvino", "nncf", "silero_vad"}


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


MODULES = {name_of(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def room_of(module: str) -> str:
    return module.split(".")[1] if "." in module else "__init__"


def imported(tree: ast.AST) -> Iterator[str]:
    """Names of everything that is imported anywhere, function bodies included, but for TYPE_CHECKING blocks."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        yield from imported(node)


def module_of(name: str) -> str | None:
    """The package's module that an imported name lies in; None for other packages."""
    while name and name not in MODULES:
        name = name.rpartition(".")[0]
    return name or None


@functools.cache
def imports(module: str) -> frozenset[str]:
    """The package's modules that one imports; read when a test asks, not by every process that imports this file."""
    tree = ast.parse(MODULES[module].read_text(encoding="utf-8"))
    return frozenset(target for name in imported(tree) if (target := module_of(name))) - {module}


def test_every_room_has_a_floor() -> None:
    assert {room_of(module) for module in MODULES} - ENTRANCES == set(FLOOR_OF)


def test_a_module_imports_from_floors_below() -> None:
    for module in MODULES:
        room = room_of(module)
        for target in imports(module) if room not in ENTRANCES else ():
            other = room_of(target)
            assert other != "__init__", f"{module} must not import the package itself"
            assert other == room or FLOOR_OF[other] < FLOOR_OF[room], f"{module} must not import {target}"


def test_modules_form_no_cycle() -> None:
    done: set[str] = set()

    def visit(module: str, path: tuple[str, ...]) -> None:
        assert module not in path, " → ".join([*path[path.index(module) :], module])
        if module in done:
            return
        for target in sorted(imports(module)):
            visit(target, (*path, module))
        done.add(module)

    for module in MODULES:
        visit(module, ())


def run_python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_tuner_process_imports_no_runtime() -> None:
    code = f"""
import sys, pkgutil, importlib
import autotune.cli, autotune.jobs.tune, autotune.jobs.load_model, autotune.study, autotune.models, autotune.measure
import autotune.render, autotune.planning, autotune.recognizer, autotune.engines, autotune.audio, autotune.loadgen.job
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
