"""What serving adds to the parts of a deployment: a real server, asked one request at a time, and a few streams."""

from __future__ import annotations

import asyncio
import json
import math
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from autotune.audio import Recording, read_audio
from autotune.audio.reading import SAMPLE_RATE_HZ
from autotune.deployment import Deployment
from autotune.errors import LoadError
from autotune.loadgen.client import Access, endpoint
from autotune.loadgen.job import make_client
from autotune.simulation.server import Servers
from autotune.simulation.service_times import ServerTimes, ServiceTimes

__all__ = ["measure_server"]

REQUESTS = 48
"""Requests that are timed, one after the other."""
WARM = 8
"""Requests before them."""
STREAMS, STREAMED_S = 4, 8.0
"""Streams that are open at once, and for how long each is spoken."""
_STARTS_WITHIN_S = 600.0
_IDLE_S = 0.02
"""Seconds between two requests: what the last one left behind (threads that still spin) isn't the next one's."""


@dataclass(frozen=True)
class _Asked:
    """One request."""

    audio_s: float
    latency_s: float
    front_s: float
    """CPU seconds of the server's own process."""
    worker_s: float
    """CPU seconds of its recognizer."""
    recording: int


def measure_server(
    file: Path, deployment: Deployment, times: ServiceTimes, recordings: Sequence[Recording], cores: int
) -> ServerTimes:
    """What `autotune serve FILE` takes beside the parts of its deployment; a server is started for it and ended.

    Args:
        file: the deploy.yaml that is served.
        deployment: what it holds.
        times: of its parts.
        recordings: those of ``times``, in their order.
        cores: usable ones.

    Raises:
        EngineUnavailableError: the extra [serve] is missing.
        LoadError: the server doesn't start, or doesn't answer.
    """
    heard = recordings[: len(times.recordings)]
    parts = Servers(deployment, times.model_copy(update={"server": None}), cores)
    alone_s = parts.alone("requests/s")
    with _served(file) as (url, process):
        asked = asyncio.run(_ask(url, process, heard))
        spoken_cores = asyncio.run(_speak(url, process, deployment, times, heard))
    front_s, front_audio_s = _line([(one.audio_s, one.front_s) for one in asked])
    left_s = statistics.median(
        one.latency_s - alone_s[one.recording] - front_s - front_audio_s * one.audio_s for one in asked
    )
    # Threads of an engine may spin after a batch: CPU time beyond the latency is nothing that a request waits for.
    beyond_s = statistics.median(one.worker_s - _parts_cpu_s(times, deployment, one.recording) for one in asked)
    worker_s = max(0.0, min(left_s, beyond_s))
    return ServerTimes(
        front_s=_rounded(front_s),
        front_audio_s=_rounded(front_audio_s),
        worker_s=_rounded(worker_s),
        wait_s=_rounded(max(0.0, left_s - worker_s)),
        stream_cores=_rounded(spoken_cores),
    )


@contextmanager
def _served(file: Path) -> Iterator[tuple[str, psutil.Process]]:
    """A server of the file on a free port: its address and its own process."""
    command = [sys.executable, "-m", "autotune", "serve", str(file), "--port", "0", "--json", "--no-interims"]
    with tempfile.TemporaryFile() as told:
        server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=told, text=True)
        try:
            assert server.stdout is not None
            line = server.stdout.readline()
            if not line:
                server.wait(_STARTS_WITHIN_S)
                told.seek(0)
                raise LoadError(f"autotune serve {file} must start, but: {told.read().decode(errors='replace')[-400:]}")
            yield json.loads(line)["url"], psutil.Process(server.pid)
        finally:
            server.terminate()
            try:
                server.wait(30)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()


async def _ask(url: str, process: psutil.Process, recordings: Sequence[Recording]) -> list[_Asked]:
    client = make_client(endpoint(url, paced=False), recordings, Access())
    found = []
    async with client:
        for number in range(WARM + REQUESTS):
            place = number % len(recordings)
            await asyncio.sleep(_IDLE_S)
            before, started = _cpu_s(process), time.perf_counter()
            answer = await client.send(place, None)
            latency_s = time.perf_counter() - started
            if answer.status != "ok":
                raise LoadError(f"The server must transcribe {recordings[place].path}, but: {answer.detail}.")
            await asyncio.sleep(_IDLE_S)
            after = _cpu_s(process)
            one = _Asked(recordings[place].audio_s, latency_s, after[0] - before[0], after[1] - before[1], place)
            found.append(one)
    return found[WARM:]


async def _speak(
    url: str, process: psutil.Process, deployment: Deployment, times: ServiceTimes, recordings: Sequence[Recording]
) -> float:
    """Cores that an open stream keeps busy, what its segments take left out."""
    import soundfile

    with tempfile.TemporaryDirectory(prefix="autotune-") as folder:
        spoken, audio_s, parts_s = [], 0.0, 0.0
        for number in range(STREAMS):
            place = number % len(recordings)
            samples = read_audio(Path(recordings[place].path))[: round(STREAMED_S * SAMPLE_RATE_HZ)]
            path = Path(folder) / f"{number}.wav"
            soundfile.write(path, samples, SAMPLE_RATE_HZ, subtype="PCM_16")
            seconds = len(samples) / SAMPLE_RATE_HZ
            spoken.append(recordings[place].model_copy(update={"path": str(path), "audio_s": seconds}))
            audio_s += seconds
            for start_s, piece_s, _ in times.spoken[place].pieces:
                inside_s = min(piece_s, max(0.0, seconds - start_s))
                if inside_s > 0:
                    parts_s += times.reading.features * inside_s + _engine_cpu_s(times, deployment, inside_s)
        client = make_client(endpoint(url, paced=True), spoken, Access())
        async with client:
            before = _cpu_s(process)
            began_s = asyncio.get_running_loop().time() + 0.1
            answers = await asyncio.gather(*(client.send(place, began_s) for place in range(STREAMS)))
            after = _cpu_s(process)
    for answer in answers:
        if answer.status != "ok":
            raise LoadError(f"The server must transcribe a stream, but: {answer.detail}.")
    return max(times.reading.chunk, (sum(after) - sum(before) - parts_s) / audio_s)


def _parts_cpu_s(times: ServiceTimes, deployment: Deployment, recording: int) -> float:
    cut, reading = times.recordings[recording], times.reading
    total_s = (reading.read + reading.chunk) * cut.audio_s
    return total_s + sum(
        reading.features * piece_s + _engine_cpu_s(times, deployment, piece_s) for _, piece_s, _ in cut.pieces
    )


def _engine_cpu_s(times: ServiceTimes, deployment: Deployment, piece_s: float) -> float:
    return deployment.intra_op_num_threads * times.batch(1, deployment.batch.padded_s(piece_s)).alone_s


def _cpu_s(process: psutil.Process) -> tuple[float, float]:
    """CPU seconds of the server's own process and of all its children, so far."""
    return _threads_s(process.pid), sum(_threads_s(child.pid) for child in process.children(recursive=True))


def _threads_s(pid: int) -> float:
    """CPU seconds of all threads of a process, to the microsecond where the kernel tells."""
    total_ns = 0
    try:
        for task in Path(f"/proc/{pid}/task").iterdir():
            total_ns += int((task / "schedstat").read_text(encoding="ascii").split()[0])
    except (OSError, ValueError, IndexError):
        times = psutil.Process(pid).cpu_times()
        return float(times.user + times.system)
    return total_ns / 1e9


def _line(points: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """Offset and slope through points, both ≥0: least absolute deviations would be better, but medians of halves do."""
    ordered = sorted(points)
    halves = ordered[: len(ordered) // 2], ordered[len(ordered) // 2 :]
    (x0, y0), (x1, y1) = (
        (statistics.median(x for x, _ in half), statistics.median(y for _, y in half)) for half in halves
    )
    slope = max(0.0, (y1 - y0) / (x1 - x0)) if x1 > x0 else 0.0
    offset = statistics.median(y - slope * x for x, y in points)
    return (offset, slope) if offset >= 0 else (0.0, max(0.0, statistics.median(y / x for x, y in points)))


def _rounded(seconds: float) -> float:
    return 0.0 if seconds == 0 else round(seconds, 5 - math.floor(math.log10(abs(seconds))))
