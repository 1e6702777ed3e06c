"""Public names: ``__all__`` says what a module offers to others, and each name is imported through one door.

The door of a name that a package's ``__init__`` exports is the package, for everybody outside of it; of any other name,
and inside the package, it is the module that defines it.
"""

import ast
import functools
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
CODE = ("autotune", "benchmarks", "scripts")


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


PATHS = {name_of(path): path for folder in (*CODE, "tests") for path in sorted((ROOT / folder).rglob("*.py"))}
PACKAGES = [module for module, path in PATHS.items() if path.name == "__init__.py"]
OFFERING = [module for module in PATHS if module.startswith(CODE)]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
STATEMENT = re.compile(r"from (autotune[\w.]*) import (\w+(?: as \w+)?(?:, \w+(?: as \w+)?)*)")


@functools.cache
def tree(module: str) -> ast.Module:
    """Parsed when a test asks: all processes of a run import this file, and one of them runs its tests."""
    return ast.parse(PATHS[module].read_text(encoding="utf-8"))


def top_level(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """A module's own statements, those under ``if``, ``try`` and ``with`` included."""
    for node in body:
        yield node
        if isinstance(node, ast.If | ast.Try | ast.With):
            yield from top_level([child for child in ast.iter_child_nodes(node) if isinstance(child, ast.stmt)])


@functools.cache
def defined(module: str) -> frozenset[str]:
    """Names of its classes, functions and constants, without what it imports."""
    names: set[str] = set()
    for node in top_level(tree(module).body):
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            names.add(node.name)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names |= {name.id for target in targets for name in ast.walk(target) if isinstance(name, ast.Name)}
    return frozenset(names)


@functools.cache
def imports(module: str) -> tuple[tuple[str, str], ...]:
    """(module, name) of what it uses of modules of ours: in functions, in quoted code, and of whole modules too."""
    names: list[tuple[str, str]] = []
    whole: dict[str, str] = {}
    for node in ast.walk(tree(module)):
        if isinstance(node, ast.ImportFrom) and node.module in PATHS:
            names += ((node.module, alias.name) for alias in node.names)
            whole |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            names += quoted(node.value)
    for node in ast.walk(tree(module)):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            names.append((whole.get(node.value.id, ""), node.attr))
    return tuple((source, name) for source, name in names if source in PATHS and f"{source}.{name}" not in PATHS)


def quoted(text: str) -> Iterator[tuple[str, str]]:
    """(module, name) of what is imported in code that is part of a text: for another process, or for readers."""
    for source, names in STATEMENT.findall(text):
        yield from ((source, name.split()[0]) for name in names.split(", "))


def documented() -> list[tuple[str, str]]:
    return [name for page in PAGES for name in quoted(page.read_text(encoding="utf-8"))]


def offered(module: str) -> list[str]:
    """Its ``__all__``; empty without one."""
    for node in tree(module).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            names: list[str] = ast.literal_eval(node.value)
            return names
    return []


def origin(module: str, name: str) -> str:
    """The module that defines a name which another one may only hand on."""
    for source, handed_on in () if name in defined(module) else imports(module):
        if handed_on == name:
            return origin(source, name)
    return module


def inside(module: str, package: str) -> bool:
    return f"{module}.".startswith(f"{package}.")


@functools.cache
def packages_of() -> dict[tuple[str, str], str]:
    """(defining module, name) → the package that exports it."""
    return {(origin(package, name), name): package for package in PACKAGES for name in offered(package)}


def door(module: str, name: str, user: str) -> str:
    """From where ``user`` must import a name that ``module`` has."""
    source = origin(module, name)
    package = packages_of().get((source, name))
    return source if package is None or inside(user, package) else package


def order(name: str) -> tuple[int, str]:
    """Constants, classes, functions: as ruff sorts ``__all__``."""
    return (0 if name.isupper() else 1 if name[0].isupper() else 2), name


def test_names_that_are_offered_exist_and_are_sorted() -> None:
    for module in OFFERING:
        names = offered(module)
        assert names == sorted(set(names), key=order), module
        if module not in PACKAGES:
            assert set(names) <= defined(module), f"a name is offered by the module that defines it, not by {module}"


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_exports_what_its_init_has(package: str) -> None:
    """All that it imports or defines, each name from the module that defines it."""
    for source, name in imports(package):
        assert origin(source, name) == source, name
    names = {name for _, name in imports(package)} | defined(package)
    assert set(offered(package)) == {name for name in names if not name.startswith("_")} | names & {"__version__"}


def test_what_others_import_is_offered() -> None:
    missing = {
        (source, name)
        for module in PATHS
        for source, name in imports(module)
        if source in OFFERING and not name.startswith("_") and name not in offered(source)
    }
    assert sorted(missing) == []


def test_each_name_has_one_door() -> None:
    exported = [(origin(package, name), name) for package in PACKAGES for name in offered(package)]
    assert len(set(exported)) == len(exported), "two packages export the same name"
    users = {module: imports(module) for module in PATHS if module not in PACKAGES}
    wrong = [
        f"{user} must import {name} from {right}, not from {source}"
        for user, names in (users | {"docs": tuple(documented())}).items()
        for source, name in names
        if (right := door(source, name, user)) != source
    ]
    assert wrong == []


def test_a_door_is_for_somebody() -> None:
    """What neither code outside of a package nor the documentation imports from it, it does not export."""
    used = {(source, name) for module in OFFERING for source, name in imports(module) if not inside(module, source)}
    used.update(documented())
    unused = {(package, name) for package in PACKAGES if package != "autotune" for name in offered(package)} - used
    assert sorted(unused) == []
