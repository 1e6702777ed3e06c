"""What a search-space document must mean: known paths and values, sound conditions, valid deployments."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from autotune.documents import suggest
from autotune.errors import DocumentError
from autotune.space.document import Branch, Choice, Parameter, SearchSpace, read_space
from autotune.space.resolved import ResolvedBranch, ResolvedParameter
from autotune.space.vocabulary import CORES, NEEDED, Vocabulary, build_deployment

__all__ = ["check_branch", "load_space"]

_EVERY_CORE = 64


def check_branch(name: str, branch: Branch, *, where: str, sections: Mapping[str, str]) -> None:
    """Check a branch, whatever this machine has.

    Args:
        name: of the branch.
        branch: with the parameters that it shares.
        where: the file that holds the branch.
        sections: file and section of the parameters that the branch doesn't hold itself.

    Raises:
        DocumentError: naming the file, the path in it and the nearest known word.
    """
    _BranchCheck(name, branch, where, sections).run()


class _BranchCheck:
    def __init__(self, name: str, branch: Branch, where: str, sections: Mapping[str, str]) -> None:
        self.name, self.branch, self.sections = name, branch, sections
        self.where = f"{where}: branches.{name}"
        self.parameters: Mapping[str, Parameter] = branch.parameters
        for path in ("engine", "device"):
            if path not in self.branch.fixed:
                raise DocumentError(f'{self.where}.fixed must hold "{path}", but it is missing.')
        self.vocabulary = Vocabulary.of_engine(
            self.branch.fixed["engine"], self.branch.fixed["device"], where=self.at("engine")
        )

    def section(self, path: str) -> str:
        own = "fixed" if path in self.branch.fixed else "parameters"
        return self.sections.get(path, f"{self.where}.{own}")

    def at(self, path: str) -> str:
        return f"{self.section(path)}.{path}"

    def run(self) -> None:
        for path, value in self.branch.fixed.items():
            self.vocabulary.check_path(path, where=self.section(path))
            self.vocabulary.check_value(path, value, where=self.at(path))
        for path, parameter in self.parameters.items():
            self._check_parameter(path, parameter)
        for path, choices in self.branch.expert.items():
            self._check_expert(path, choices, at=f"{self.where}.expert")
        self._check_complete()
        self._check_circles()
        self._check_deployments()

    def _check_parameter(self, path: str, parameter: Parameter) -> None:
        self.vocabulary.check_path(path, where=self.section(path))
        if path in ("engine", "device"):
            raise DocumentError(f"{self.at(path)}: {path} must be fixed in a branch. Write one branch for each.")
        values = [choice.value for choice in parameter.values]
        for value in [*values, *([] if parameter.otherwise is None else [parameter.otherwise])]:
            self.vocabulary.check_value(path, value, where=self.at(path))
        if len({(type(value), value) for value in values}) < len(values):
            raise DocumentError(f"{self.at(path)}.values must differ, but got {values}.")
        numbers = [value for value in values if not isinstance(value, str | bool)]
        if numbers != sorted(numbers):
            raise DocumentError(f"{self.at(path)}.values must ascend, they are an ordered scale, but got {values}.")
        for other, allowed in parameter.when.items():
            self._check_condition(path, other, allowed)
        self._check_expert_values(path, parameter.expert, at=f"{self.at(path)}.expert")

    def _check_condition(self, path: str, other: str, allowed: tuple[object, ...]) -> None:
        at = f"{self.at(path)}.when"
        names = sorted({*self.parameters, *self.branch.fixed} - {path})
        if other not in names:
            raise DocumentError(
                f'{at}: must name a parameter of this branch, but got "{other}". {suggest(other, names)}'
            )
        values = self._values(other)
        for value in allowed:
            if value not in values and CORES not in values:
                hint = suggest(str(value), [str(item) for item in values])
                raise DocumentError(f"{at}.{other}: must be a value that {other} can have, but got {value!r}. {hint}")

    def _check_expert(self, path: str, choices: Sequence[Choice], *, at: str) -> None:
        if path not in self.parameters:
            raise DocumentError(f'{at}: unknown parameter "{path}". {suggest(path, sorted(self.parameters))}')
        self._check_expert_values(path, choices, at=f"{at}.{path}")

    def _check_expert_values(self, path: str, choices: Sequence[Choice], *, at: str) -> None:
        values = self._values(path)
        for value in [choice.value for choice in choices]:
            if value not in values and CORES not in values:
                hint = suggest(str(value), [str(item) for item in values])
                raise DocumentError(f"{at}: must be one of the searched values, but got {value!r}. {hint}")

    def _values(self, path: str) -> list[object]:
        if path in self.branch.fixed:
            return [self.branch.fixed[path]]
        parameter = self.parameters[path]
        return [choice.value for choice in parameter.values] + [parameter.otherwise] * (parameter.otherwise is not None)

    def _check_complete(self) -> None:
        vocabulary = self.vocabulary
        needed = [key for key in vocabulary.session_options if key not in vocabulary.neutral_options]
        options = [f"session_options.{key}" for key in needed]
        missing = [
            path for path in (*NEEDED, *options) if path not in self.parameters and path not in self.branch.fixed
        ]
        if missing:
            raise DocumentError(
                f"{self.where} must fix or search {', '.join(missing)}: "
                "a deployment leaves nothing to a default that may change."
            )

    def _check_circles(self) -> None:
        waiting: Mapping[str, Parameter] = self.parameters
        while waiting:
            ready = [path for path, item in waiting.items() if not item.when.keys() & waiting.keys()]
            if not ready:
                raise DocumentError(
                    f"{self.where}: the conditions (when) of {', '.join(waiting)} must not form a circle."
                )
            waiting = {path: item for path, item in waiting.items() if path not in ready}

    def _check_deployments(self) -> None:
        """Every combination of parameters that condition each other must make a valid deployment."""
        branch = self._imagined()
        for linked in branch.linked():
            for values in branch.combinations(linked):
                try:
                    build_deployment(values)
                except ValidationError as error:
                    raise DocumentError(self._explain(error, linked, values)) from error

    def _explain(self, error: ValidationError, linked: Sequence[ResolvedParameter], values: Mapping[str, Any]) -> str:
        item = error.errors()[0]
        path = ".".join(map(str, item["loc"]))
        own = path in self.parameters or path in self.branch.fixed
        at = self.at(path) if own else self.where
        chosen = ", ".join(f"{part.path}={values.get(part.path)}" for part in linked)
        return f"{at}: {item['msg'].removeprefix('Value error, ')} (with {chosen})."

    def _imagined(self) -> ResolvedBranch:
        """The branch as it would be resolved on a machine that has everything."""
        fixed = {"language": "auto", "text_norm": "woitn", **self.branch.fixed}
        if fixed["device"] == "cuda":
            fixed["device"] = "cuda:0"
        fixed = {path: _EVERY_CORE if value == CORES else value for path, value in fixed.items()}
        parameters = []
        done: set[str] = set()
        while len(done) < len(self.parameters):
            for path, item in self.parameters.items():
                if path not in done and not item.when.keys() & (self.parameters.keys() - done):
                    values = [1, _EVERY_CORE] if item.values[0].value == CORES else [c.value for c in item.values]
                    when = tuple((other, tuple(allowed)) for other, allowed in item.when.items())
                    parameters.append(ResolvedParameter(path, tuple(values), when, item.otherwise))
                    done.add(path)
        return ResolvedBranch(self.name, tuple(fixed.items()), tuple(parameters), (), _EVERY_CORE)


_File = tuple[Path, SearchSpace]


def load_space(name_or_path: str) -> SearchSpace:
    """Read a search space: the name of a shipped one, or the path of a YAML file.

    Included files' branches are merged in, and what branches share is folded into every one.

    Raises:
        DocumentError: naming the file, the path in it and the nearest known word.
    """
    path, space = read_space(name_or_path)
    branches = _branches(path, space, above=())
    if not branches:
        on = f" on {space.device}" if space.device else ""
        raise DocumentError(f'{path}: "branches" or "include" must give at least one branch{on}.')
    return space.model_copy(update={"device": None, "include": (), "common": {}, "branches": branches})


def _branches(path: Path, space: SearchSpace, *, above: Sequence[Path]) -> dict[str, Branch]:
    """A file's own branches, then those that it includes."""
    chain = (*above, path.resolve())
    included = [read_space(name, included_by=path) for name in space.include]
    for other_path, _ in included:
        if other_path.resolve() in chain:
            circle = " → ".join(str(item) for item in (*chain[chain.index(other_path.resolve()) :], other_path))
            raise DocumentError(f"{path}: include: files must not include each other in a circle, but got {circle}.")
    sharing = [*((other_path, other) for other_path, other in included if not other.branches), (path, space)]
    branches = {name: _complete(name, branch, path, sharing) for name, branch in space.branches.items()}
    for name, branch in branches.items():
        if space.device not in (None, branch.device):
            raise DocumentError(
                f"{path}: branches.{name}.fixed.device must be {space.device}, as the file's own device says, "
                f"but got {branch.fixed['device']}."
            )
    for other_path, other in included:
        for name, branch in _branches(other_path, other, above=chain).items():
            if space.device not in (None, branch.device):
                continue
            if name in branches:
                raise DocumentError(f'{path}: include: {other_path} must not hold the branch "{name}" again.')
            branches[name] = branch
    return branches


def _complete(name: str, branch: Branch, path: Path, sharing: Sequence[_File]) -> Branch:
    """The branch with what it shares, checked; of equal names its own goes first, then the last file's."""
    parameters: dict[str, Parameter] = {}
    sections: dict[str, str] = {}
    for file, space in sharing:
        if space.device in (None, branch.device):
            parameters |= space.common
            sections |= dict.fromkeys(space.common, f"{file}: common")
    parameters = {key: item for key, item in {**parameters, **branch.parameters}.items() if key not in branch.fixed}
    sections = {key: section for key, section in sections.items() if key not in {*branch.parameters, *branch.fixed}}
    complete = branch.model_copy(update={"parameters": parameters})
    check_branch(name, complete, where=str(path), sections=sections)
    shared = {key: item.expert for key, item in parameters.items() if item.expert}
    return complete.model_copy(update={"expert": {**shared, **branch.expert}})
