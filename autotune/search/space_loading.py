"""Search-space files put together: what they include and share, folded into complete, checked branches."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from autotune.errors import DocumentError
from autotune.search.space_check import check_branch
from autotune.search.space_document import Branch, Parameter, SearchSpace, read_space

__all__ = ["load_space"]

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
