"""The error tree. Every error that autotune raises on purpose is one of these.

AutotuneError
├── DocumentError (ValueError)            a YAML document or an option is wrong
├── EngineUnavailableError (ImportError)  a runtime is not installed; the message names what to install
├── AudioError (ValueError)               a file is not audio, is empty, or none is usable
├── ModelError (ValueError)               a model directory is incomplete, damaged, unsafe or unsupported
├── ArtifactError (RuntimeError)          an export failed: disk full, or its parity check did not pass
├── InfeasibleSloError                    nothing measured meets the objective's limits
├── CantPredictError                      too little is known of a machine that isn't here
├── LoadError                             a server can't be loaded, or what was measured of it is not valid
├── SlowerThanRecordedError               a deployment is no longer as fast, or as good, as its file says
└── TrialError                            a measured child process did not give a measurement
    ├── TrialTimeout (TimeoutError)       ran past its limit and was killed
    ├── TrialHung (TimeoutError)          stood still while it loaded or ran a batch; where its threads stood
    ├── TrialOutOfMemory (MemoryError)    MemoryError inside, or killed by the kernel's OOM killer
    ├── TrialCrashed                      exit code or signal; the tail of its stderr
    └── TrialMismatch                     it ran, but not what the deployment says
"""

from __future__ import annotations

__all__ = [
    "ArtifactError",
    "AudioError",
    "AutotuneError",
    "CantPredictError",
    "DocumentError",
    "EngineUnavailableError",
    "InfeasibleSloError",
    "LoadError",
    "ModelError",
    "SlowerThanRecordedError",
    "TrialCrashed",
    "TrialError",
    "TrialHung",
    "TrialMismatch",
    "TrialOutOfMemory",
    "TrialTimeout",
]


class AutotuneError(Exception):
    """Base of every error that autotune raises on purpose."""


class DocumentError(AutotuneError, ValueError):
    """A document or an option is wrong: the message says what must hold, what was got and where."""


class EngineUnavailableError(AutotuneError, ImportError):
    """A runtime or device is missing: the message names what to install."""


class AudioError(AutotuneError, ValueError):
    """A file is not audio, is empty, or no file is usable."""


class ModelError(AutotuneError, ValueError):
    """A model directory is incomplete, damaged, unsafe or of an unsupported class."""


class ArtifactError(AutotuneError, RuntimeError):
    """An export failed: no disk space, or its parity check did not pass."""


class InfeasibleSloError(AutotuneError):
    """Nothing measured meets the objective's limits; the message holds the nearest miss."""


class CantPredictError(AutotuneError):
    """Too little is known to predict what a machine that isn't here would do: the message says what is missing."""


class LoadError(AutotuneError):
    """A server can't be loaded (it isn't there, refuses, or speaks otherwise), or what was measured is not valid."""


class SlowerThanRecordedError(AutotuneError):
    """A deployment is no longer as fast as its file says, or no longer within its limits; says by how much."""


class TrialError(AutotuneError):
    """A measured child process did not give a measurement.

    Attributes:
        stderr_tail: the last lines that the child wrote to stdout and stderr, may be empty.
    """

    def __init__(self, message: str, *, stderr_tail: str = "") -> None:
        super().__init__(message)
        self.stderr_tail = stderr_tail


class TrialTimeout(TrialError, TimeoutError):  # noqa: N818 - DESIGN's word, like the builtin TimeoutError's family
    """The child ran past its limit and its process group was killed."""


class TrialHung(TrialError, TimeoutError):  # noqa: N818
    """The child loaded or ran a batch but did nothing, and was killed; the message holds the stacks of its threads."""


class TrialOutOfMemory(TrialError, MemoryError):  # noqa: N818
    """MemoryError inside the child, or the kernel's OOM killer took it."""


class TrialCrashed(TrialError):  # noqa: N818
    """The child ended without a result.

    Attributes:
        exit_code: the exit status, or minus the signal's number.
    """

    def __init__(self, message: str, *, exit_code: int | None = None, stderr_tail: str = "") -> None:
        super().__init__(message, stderr_tail=stderr_tail)
        self.exit_code = exit_code


class TrialMismatch(TrialError):  # noqa: N818
    """The child ran, but not what the deployment says (provider, device, threads)."""
