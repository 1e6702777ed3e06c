"""The command in a process of its own, which measures once what ``one_attempt`` measures once."""

import sys

__all__ = ["AUTOTUNE"]

AUTOTUNE = (
    sys.executable,
    "-c",
    "from autotune.jobs import repeater; repeater.PAUSES_S = (); from autotune.cli import main; main()",
)
