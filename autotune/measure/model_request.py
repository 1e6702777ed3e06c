"""What every child that runs a model is asked with: the deployment, the model directory, the exported file."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autotune.deployment import Deployment
from autotune.documents import Document
from autotune.hardware import HardwareProfile
from autotune.isolation import OnEvent, Stop, run_task
from autotune.isolation.stillness import STILL_S
from autotune.measure.gpu_counters import gpu_watch

if TYPE_CHECKING:
    from autotune.recognizer import Recognizer

__all__ = ["ModelRequest"]


class ModelRequest(Document):
    """A deployment of a model, to be loaded by a child."""

    deployment: Deployment
    model_path: str
    """The FunASR model directory."""
    artifact_path: str | None = None
    """The exported file; null for formats that run from the model directory."""
    punctuation_path: str | None = None
    """What the deployment's punctuation is loaded from; null without one."""
    hot_words: tuple[str, ...] = ()
    """Hot words of every recording; empty: the model is loaded without its branch for them."""
    hot_words_path: str | None = None
    """The exported file for them; null for formats that run from the model directory, and without hot words."""

    def for_child(self) -> dict[str, Any]:
        """The request as JSON values; relative paths count from this process's directory, a child has another."""
        payload = self.model_dump(mode="json")
        for key in ("model_path", "artifact_path", "punctuation_path", "hot_words_path"):
            if payload[key] is not None:
                payload[key] = str(Path(payload[key]).absolute())
        return payload

    def load(self) -> Recognizer:
        """The recognizer, loaded in this process; see ``Recognizer.load`` for what it raises."""
        from autotune.model_directory import ModelDirectory
        from autotune.recognizer import Recognizer

        named = (self.artifact_path, self.punctuation_path, self.hot_words_path)
        artifact, punctuation, hot_words = (None if path is None else Path(path) for path in named)
        return Recognizer.load(
            self.deployment,
            ModelDirectory.open(Path(self.model_path)),
            artifact,
            punctuation,
            hot_words=self.hot_words or None,
            hot_words_artifact=hot_words,
        )

    @property
    def threads(self) -> int | None:
        """Threads of native libraries; None for FunASR's own path, which sets its threads itself, as for its users."""
        return None if self.deployment.engine == "funasr" else self.deployment.intra_op_num_threads

    def run(
        self,
        task: str,
        hardware: HardwareProfile,
        *,
        timeout_s: float,
        on_event: OnEvent | None = None,
        stop: Stop | None = None,
        imports: Collection[str] = (),
        still_s: float = STILL_S,
    ) -> dict[str, Any]:
        """What ``task`` makes of this request in a child of its own, bound to the usable CPUs; see ``run_task``.

        Args:
            task: ``module:function``.
            hardware: whose ``cpus`` the child is bound to.
            timeout_s: for everything.
            on_event: gets the child's events; what it raises ends the child.
            stop: lets another thread end it.
            imports: modules that the child need not import for itself.
            still_s: after how long a load or a batch that stands still is a hang.
        """
        return run_task(
            task,
            self.for_child(),
            timeout_s=timeout_s,
            on_event=on_event,
            cpus=hardware.cpus,
            threads=self.threads,
            stop=stop,
            imports=imports,
            watch=gpu_watch(self.deployment.device, still_s),
        )
