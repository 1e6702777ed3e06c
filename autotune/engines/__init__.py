"""What executes an artifact. Runtimes are imported only when their engine is loaded."""

from autotune.engines.base import Engine, EngineFacts, EngineInput, EngineOutput, EngineRequest
from autotune.engines.table import ENGINES, engine_class, load_engine

__all__ = [
    "ENGINES",
    "Engine",
    "EngineFacts",
    "EngineInput",
    "EngineOutput",
    "EngineRequest",
    "engine_class",
    "load_engine",
]
