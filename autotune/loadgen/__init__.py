"""The load generator: schedules, clients, what came back, whether to believe it, and the highest load that is kept."""

from autotune.loadgen.client import Access
from autotune.loadgen.document import SCHEMA, LoadReport, LoadRun, load_schema_text
from autotune.loadgen.job import LoadOptions, load_server
from autotune.loadgen.offer import Wanted
from autotune.loadgen.picture import draw_load

__all__ = [
    "SCHEMA",
    "Access",
    "LoadOptions",
    "LoadReport",
    "LoadRun",
    "Wanted",
    "draw_load",
    "load_schema_text",
    "load_server",
]
