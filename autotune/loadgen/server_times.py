"""What serving adds to the parts of a deployment: a real server, asked one request at a time, and a few streams."""

from __future__ import annotations

import asyncio
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import psutil

from autotune.audio import Recording, read_audio
from autotune.audio.reading import SAMPLE_RATE_HZ
from autotune.deployment import Deployment
from autotune.errors import LoadError
from autotune.loadgen.client import Access, Answer, endpoint
from autotune.loadgen.job import make_client
from autotune.redaction import without_secrets
from autotune.simulation.server import Servers
from autotune.simulation.service_times import ServerTimes, ServiceTimes

__all__ = ["Crowd", "line_through", "measure_server", "worker_s_of"]

REQUESTS = 48
"""Requests that are timed, one after the other."""
WARM = 8
"""Requests before them."""
ASKING_S = 15.0
"""Seconds after which no further one is sent."""
CROWDS, CROWD_S = 3, 2.0
"""Times that users ask for the shorter and for the longer half of the recordings, as often as takes so many seconds."""
USERS = 8
"""Requests of a crowd that are under way for each core."""
STREAMS, STREAMED_S = 4, 8.0
"""Streams that are open at once, and for how long each is spoken."""
_STARTS_WITHIN_S, _ENDS_WITHIN_S = 600.0, 30.0
_NO_LIMIT_S = 1e9
_IDLE_S = 0.02
"""Seconds between two requests: what the last one left behind (threads that still spin) isn't the next one's."""


@dataclass(frozen=True)
class Crowd:
    """Requests of several users, each of whom asks again once there is an answer."""

    places: Sequence[int]
    users: int
    wall_s: float
    """Until the last text."""
    audio_s: float
    """Mean of a request."""
    front_s: float
    """CPU seconds a request of the server's own process."""
    client_s: float
    """The same of this process, which is their client."""


def measure_server(
    file: Path, deployment: Deployment, times: ServiceTimes, recordings: Sequence[Recording], cores: int
) -> ServerTimes:
    """What `autotune serve FILE` takes beside the parts of its deployment; a server is started for it and ended.

    CPU times are those of a crowd of users: a request alone would show those of threads that have just been woken. What
    the recognizer's process does for a request is what makes simulated crowds take as long as the real ones.

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
    ordered = sorted(range(len(heard)), key=lambda place: heard[place].audio_s)
    halves = [ordered[: (len(ordered) + 1) // 2], ordered[len(ordered) // 2 :]]
    crowds = []
    with _served(file) as (url, process):
        asked = asyncio.run(_ask(url, heard))
        for half in halves:
            # Of long recordings, no more than take so many seconds, evenly spread.
            enough = max(2, math.ceil(CROWD_S / statistics.fmean(alone_s[place] for place in half)))
            some = half[:: max(1, len(half) // enough)]
            users = min(USERS * cores, len(some))
            first = asyncio.run(_crowd(url, process, heard, some, users))
            places = some * max(1, round(CROWD_S / first.wall_s))
            rounds = CROWDS if first.wall_s <= 2 * CROWD_S else 1
            crowds += [asyncio.run(_crowd(url, process, heard, places, users)) for _ in range(rounds)]
        stream_cores, client_stream_cores = asyncio.run(_speak(url, process, deployment, times, heard))
    front_s, front_audio_s = line_through([(one.audio_s, one.front_s) for one in crowds])
    plain = ServerTimes(
        front_s=_rounded(front_s),
        front_audio_s=_rounded(front_audio_s),
        worker_s=0.0,
        wait_s=0.0,
        stream_cores=_rounded(stream_cores),
        client_s=_rounded(statistics.median(one.client_s for one in crowds)),
        client_stream_cores=_rounded(client_stream_cores),
    )
    worker_s = statistics.median(worker_s_of(parts, plain, one) for one in crowds)
    left_s = statistics.median(latency_s - alone_s[place] for place, latency_s in asked)
    mean_s = statistics.fmean(heard[place].audio_s for place, _ in asked)
    known_s = worker_s + front_s + front_audio_s * mean_s
    return plain.model_copy(update={"worker_s": _rounded(worker_s), "wait_s": _rounded(max(0.0, left_s - known_s))})


def worker_s_of(parts: Servers, plain: ServerTimes, crowd: Crowd) -> float:
    """CPU seconds of a request in the recognizer's process with which a simulated crowd takes as long as the real."""

    def took_s(worker_s: float) -> float:
        server = plain.model_copy(update={"worker_s": worker_s})
        times = parts.times.model_copy(update={"server": server})
        return replace(parts, times=times, client_s=plain.client_s).crowd(crowd.places, crowd.users).ended_s

    low, high = 0.0, 2 * crowd.wall_s
    if took_s(low) >= crowd.wall_s:
        return 0.0
    for _ in range(20):
        middle = (low + high) / 2
        low, high = (middle, high) if took_s(middle) < crowd.wall_s else (low, middle)
    return low


@contextmanager
def _served(file: Path) -> Iterator[tuple[str, psutil.Process]]:
    """A server of the file on a free port: its address and its own process."""
    command = [sys.executable, "-m", "autotune", "serve", str(file), "--port", "0", "--json", "--no-interims"]
    command += ["--max-queue-s", f"{_NO_LIMIT_S:.0f}"]
    with (
        tempfile.TemporaryFile() as told,
        # Without a key, whatever this process has: it is asked by nobody else.
        subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=told, text=True, env=without_secrets(os.environ)
        ) as server,
    ):
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
                server.wait(_ENDS_WITHIN_S)
            except subprocess.TimeoutExpired:
                server.kill()


async def _ask(url: str, recordings: Sequence[Recording]) -> list[tuple[int, float]]:
    """Requests one after the other: which recording, and the seconds until its text."""
    client = make_client(endpoint(url, paced=False), recordings, Access())
    found: list[tuple[int, float]] = []
    async with client:
        began_s = time.perf_counter()
        for number in range(WARM + REQUESTS):
            if len(found) > 1 and time.perf_counter() - began_s > ASKING_S:
                break
            place = number % len(recordings)
            await asyncio.sleep(_IDLE_S)
            started = time.perf_counter()
            _check(await client.send(place, None), recordings[place])
            found.append((place, time.perf_counter() - started))
    return found[min(WARM, len(found) // 2) :]


async def _crowd(
    url: str, process: psutil.Process, recordings: Sequence[Recording], places: Sequence[int], users: int
) -> Crowd:
    """Requests for these recordings, so many under way all the time."""
    client = make_client(endpoint(url, paced=False), recordings, Access())
    left = iter(places)

    async def ask() -> None:
        for place in left:
            _check(await client.send(place, None), recordings[place])

    async with client:
        front_s, client_s, started = _threads_s(process.pid), time.process_time(), time.perf_counter()
        await asyncio.gather(*(ask() for _ in range(users)))
        wall_s, client_s = time.perf_counter() - started, time.process_time() - client_s
        front_s = _threads_s(process.pid) - front_s
    count = len(places)
    audio_s = math.fsum(recordings[place].audio_s for place in places) / count
    return Crowd(places, users, wall_s, audio_s, front_s / count, client_s / count)


def _check(answer: Answer, recording: Recording) -> None:
    if answer.status != "ok":
        raise LoadError(f"The server must transcribe {recording.path}, but: {answer.detail}.")


async def _speak(
    url: str, process: psutil.Process, deployment: Deployment, times: ServiceTimes, recordings: Sequence[Recording]
) -> tuple[float, float]:
    """Cores that an open stream keeps busy, what its segments take left out; and those of its client."""
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
                    parts_s += (times.reading.features + times.reading.punctuation) * inside_s
                    parts_s += _engine_cpu_s(times, deployment, inside_s)
        client = make_client(endpoint(url, paced=True), spoken, Access())
        async with client:
            before, client_s = _cpu_s(process), time.process_time()
            began_s = asyncio.get_running_loop().time() + 0.1
            answers = await asyncio.gather(*(client.send(place, began_s) for place in range(STREAMS)))
            after, client_s = _cpu_s(process), time.process_time() - client_s
    for recording, answer in zip(spoken, answers, strict=True):
        _check(answer, recording)
    return max(times.reading.chunk, (after - before - parts_s) / audio_s), client_s / audio_s


def _engine_cpu_s(times: ServiceTimes, deployment: Deployment, piece_s: float) -> float:
    return deployment.intra_op_num_threads * times.batch(1, deployment.batch.padded_s(piece_s)).alone_s


def _cpu_s(process: psutil.Process) -> float:
    """CPU seconds of a process and of all its children, so far."""
    return _threads_s(process.pid) + sum(_threads_s(child.pid) for child in process.children(recursive=True))


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


def line_through(points: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """Offset and slope, both ≥0, through the medians of the points' lower and upper half."""
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
