"""What executes an artifact. Runtimes are imported only when their engine is loaded."""

from autotune.engines.base import Engine, EngineFacts, EngineInput, EngineOutput, EngineRequest, HotWordIds
from autotune.engines.table import ENGINES, check_hot_words, engine_class, load_engine

__all__ = [
    "ENGINES",
    "Engine",
    "EngineFacts",
    "EngineInput",
    "EngineOutput",
    "EngineRequest",
    "HotWordIds",
    "check_hot_words",
    "engine_class",
    "load_engine",
]
