"""On PYTHONPATH: makes the packages that ABSENT names look as if they weren't installed, in children too."""

import os
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType


class Without(PathFinder):
    """Finds all modules but those."""

    @classmethod
    def find_spec(
        cls, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        absent = fullname.partition(".")[0] in os.environ["ABSENT"].split()
        return None if absent else super().find_spec(fullname, path, target)


sys.meta_path[sys.meta_path.index(PathFinder)] = Without
