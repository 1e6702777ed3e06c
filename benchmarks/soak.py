"""A soak of the server: 80 % of its capacity, and everything that clients and machines do wrong meanwhile.

    python benchmarks/soak.py deploy.yaml --minutes 10
    python benchmarks/soak.py deploy.yaml --minutes 10 --standby
    python benchmarks/soak.py deploy.yaml --minutes 10 --attacked --share 0.4

Poisson arrivals of short recordings, and streams in real time beside them; every minute a worker is killed; slow
senders, malformed bodies, clients that leave and random WebSocket frames all the time. Every accepted request's and
every stream's text must be the offline recognizer's; streams on which a worker died are counted apart, since the next
one begins to listen in their middle. Memory is compared between moments at which no worker was killed lately.
With ``--attacked``, the attacks of ``attack.py`` follow each other beside the load, from another address.
Writes ``docs/benchmarks/soak.json``, each kind of run beside the others.
Run it alone on the machine; needs the extra [serve].
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import os
import random
import signal
import statistics
import sys
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
import soundfile
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, WebSocketException

import autotune
from autotune.deploy_yaml import read_deployment_file
from autotune.intervals import percentile
from autotune.recognizer.decoding import join_texts
from benchmarks.attack import ATTACKS, killed_workers
from benchmarks.serving import recordings
from benchmarks.serving_client import PATH, Answer, Server, ask, conditions, connecting, crowd, form, serving

OUT = Path(__file__).parent.parent / "docs" / "benchmarks" / "soak.json"
SHARE = 0.8
KILL_EVERY_S = 60.0
SLOW_SENDERS, STREAMS = 4, 2
STREAM_STEP_S = 0.2
ATTACK_S = 10.0
MEMORY_EVERY_S = 2.0
SETTLED_S = 25.0
"""After a kill: until then, workers load and backlogs are worked off."""


@dataclass(frozen=True)
class Spoken:
    """What became of a stream."""

    path: Path
    text: str
    """Or why it has none."""
    ended: bool
    hit: bool
    """Whether a worker was killed meanwhile."""


@dataclass(frozen=True)
class Memory:
    """Resident bytes of the server's processes at one moment."""

    second: float
    """Since the soak began."""
    front: int
    """Of the process that speaks with clients."""
    workers: int
    in_flight: int
    """Requests that wait for their answers: memory that a backlog takes isn't given back."""
    settled: bool
    """Whether no worker was killed lately."""


@dataclass
class Soak:
    """What is done and what came back."""

    server: Server
    files: list[Path]
    rate: float
    until: float
    answers: list[Answer] = field(default_factory=list)
    in_flight: int = 0
    streams: list[Spoken] = field(default_factory=list)
    killed: list[float] = field(default_factory=list)
    injected: Counter[str] = field(default_factory=Counter)
    came_back: Counter[str] = field(default_factory=Counter)
    memory: list[Memory] = field(default_factory=list)
    attacked: bool = False

    @property
    def over(self) -> bool:
        return time.perf_counter() > self.until

    async def arrivals(self) -> None:
        """Open loop: never waits for an answer."""
        contents = {path: path.read_bytes() for path in self.files}
        generator, tasks = random.Random(1), set[asyncio.Task[None]]()

        async def one(path: Path) -> None:
            self.in_flight += 1
            self.answers.append(await ask(session, path, contents[path]))
            self.in_flight -= 1

        due = time.perf_counter()
        async with connecting(self.server.url) as session:
            while not self.over:
                due += generator.expovariate(self.rate)
                await asyncio.sleep(max(0.0, due - time.perf_counter()))
                task = asyncio.create_task(one(generator.choice(self.files)))
                tasks.add(task)
                task.add_done_callback(tasks.discard)
            await asyncio.gather(*tasks)

    async def kills(self) -> None:
        while not self.over:
            await asyncio.sleep(min(KILL_EVERY_S, max(0.0, self.until - time.perf_counter())))
            if not self.over and (pids := self.server.worker_pids()):
                self.injected["worker killed"] += 1
                self.killed.append(time.perf_counter())
                os.kill(pids[0], signal.SIGKILL)

    async def spoken(self, number: int) -> None:
        """Streams, one after the other, each at the pace of speech."""
        generator = random.Random(f"stream {number}")
        while not self.over:
            path, started = generator.choice(self.files), time.perf_counter()
            try:
                text, ended = await self.speak(path), True
            except (WebSocketException, OSError) as error:
                text, ended = f"{type(error).__name__}: {error}", False
            hit = any(started < killed for killed in self.killed)
            self.streams.append(Spoken(path, text, ended, hit))

    async def speak(self, path: Path) -> str:
        samples, rate = soundfile.read(path, dtype="int16")
        step, texts = round(STREAM_STEP_S * rate), []
        async with connect(self.server.url.replace("http", "ws", 1) + "/") as socket:
            await socket.send(json.dumps({"mode": "2pass", "audio_fs": rate, "is_speaking": True}))
            started = time.perf_counter()
            for place in range(0, len(samples), step):
                await asyncio.sleep(max(0.0, started + place / rate - time.perf_counter()))
                await socket.send(samples[place : place + step].tobytes())
            await socket.send(json.dumps({"is_speaking": False}))
            final = False
            while not final:
                told = json.loads(await socket.recv())
                final = told["is_final"]
                # The last message has the text of what was settled after the client's end.
                if told["mode"] == "2pass-offline":
                    texts.append(told["text"])
        return join_texts(texts)

    async def leaving(self, session: aiohttp.ClientSession) -> str:
        """A client that goes away before it is answered."""
        try:
            async with session.post(
                PATH, data=form(self.files[0].read_bytes()), timeout=aiohttp.ClientTimeout(0.05)
            ) as answer:
                await answer.read()
        except TimeoutError:
            return "left"
        return "answered before"

    async def malformed(self, session: aiohttp.ClientSession) -> str:
        """Bytes that are no form, or a form without audio."""
        body = random.randbytes(random.randrange(5000))
        if random.random() < 0.5:
            sending = session.post(PATH, data=body, headers={"content-type": "multipart/form-data; boundary=x"})
        else:
            sending = session.post(PATH, data=form(body))
        async with sending as answer:
            return f"{answer.status}"

    async def slow(self, session: aiohttp.ClientSession) -> str:
        """A form that comes byte by byte, from a client that listens meanwhile."""
        del session
        url = urlsplit(self.server.url)
        reader, writer = await asyncio.open_connection(url.hostname, url.port)
        lines = ("Host: x", "Content-Type: multipart/form-data; boundary=x", "Content-Length: 1000000")
        part = ("--x", 'Content-Disposition: form-data; name="file"; filename="a.wav"', "", "")
        writer.write("\r\n".join([f"POST {PATH} HTTP/1.1", *lines, "", *part]).encode())
        answering = asyncio.create_task(reader.read())
        try:
            while not answering.done() and not self.over:
                writer.write(b"-")
                await asyncio.wait({answering}, timeout=1.0)
            return (await answering).split(b" ")[1].decode() if answering.done() else "not answered"
        finally:
            answering.cancel()
            writer.close()

    async def frames(self, session: aiohttp.ClientSession) -> str:
        """Random frames on the WebSocket."""
        del session
        try:
            async with connect(self.server.url.replace("http", "ws", 1) + "/") as socket:
                for _ in range(random.randrange(1, 6)):
                    frame: str | bytes = random.randbytes(random.randrange(2000))
                    if random.random() < 0.5:
                        frame = json.dumps({"mode": random.choice(["offline", "2pass", "x", 1]), "audio_fs": 16000})
                    await socket.send(frame)
                await asyncio.sleep(random.random())
        except ConnectionClosed as closed:
            return f"closed {closed.rcvd.code if closed.rcvd else 'without a reason'}"
        except WebSocketException as refused:
            return f"refused: {type(refused).__name__}"
        return "closed by the client"

    async def repeated(
        self, name: str, what: Callable[[aiohttp.ClientSession], Awaitable[str]], every_s: float
    ) -> None:
        async with connecting(self.server.url) as session:
            while not self.over:
                self.injected[name] += 1
                try:
                    self.came_back[f"{name}: {await what(session)}"] += 1
                except (aiohttp.ClientError, OSError) as error:
                    self.came_back[f"{name}: {type(error).__name__}"] += 1
                await asyncio.sleep(every_s)

    async def attacks(self) -> None:
        """One after the other, until it is over; workers are killed anyway."""
        for attack in itertools.cycle(attack for attack in ATTACKS if attack.run is not killed_workers):
            if self.over:
                return
            self.injected[f"attack: {attack.name}"] += 1
            ended = threading.Event()
            running = asyncio.create_task(asyncio.to_thread(attack.run, self.server, ended))
            await asyncio.sleep(min(ATTACK_S, max(0.0, self.until - time.perf_counter())))
            ended.set()
            await running

    async def watching(self) -> None:
        started = time.perf_counter()
        while not self.over:
            now, front = time.perf_counter(), self.server.front_bytes()
            settled = now - max([started, *self.killed]) > SETTLED_S
            workers = self.server.memory_bytes() - front
            self.memory.append(Memory(now - started, front, workers, self.in_flight, settled))
            await asyncio.sleep(MEMORY_EVERY_S)

    async def run(self) -> None:
        await asyncio.gather(
            self.arrivals(),
            self.kills(),
            self.watching(),
            self.repeated("client leaves", self.leaving, 2.0),
            self.repeated("malformed body", self.malformed, 1.0),
            *(self.repeated("slow sender", self.slow, 5.0) for _ in range(SLOW_SENDERS)),
            *(self.spoken(number) for number in range(STREAMS)),
            self.repeated("random frames", self.frames, 1.0),
            *([self.attacks()] if self.attacked else []),
        )


def growth(memory: list[Memory], size: Callable[[Memory], int]) -> float:
    """Median of the last fifth of the settled moments over that of the second fifth, minus 1."""
    sizes = [size(one) for one in memory if one.settled]
    fifth = max(1, len(sizes) // 5)
    return statistics.median(sizes[-fifth:]) / statistics.median(sizes[fifth : 2 * fifth]) - 1


def streams_told(streams: list[Spoken], expected: dict[Path, str]) -> dict[str, int]:
    """How many, and how they ended."""
    told = Counter({"spoken": len(streams), "lost": 0, "wrong": 0, "worker died": 0, "worker died, cut elsewhere": 0})
    for one in streams:
        differs = one.ended and one.text != expected[one.path]
        told["lost"] += not one.ended
        told["wrong"] += differs and not one.hit
        told["worker died"] += one.hit
        told["worker died, cut elsewhere"] += differs and one.hit
    return dict(told)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("deployment", type=Path)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--standby", action="store_true", help="with a second worker that stands by")
    parser.add_argument("--attacked", action="store_true", help="with attackers beside the load")
    parser.add_argument(
        "--share", type=float, default=SHARE, help="load as a share of the capacity; attackers need CPUs"
    )
    parser.add_argument("--slo-s", type=float, default=2.0, help="p95 latency that is promised")
    options = parser.parse_args()
    document, files = read_deployment_file(options.deployment), recordings("short", 24)
    with autotune.load(options.deployment) as recognizer:
        expected = {path: recognizer.transcribe([path])[0].text for path in files}
    with serving(options.deployment, *(["--standby"] if options.standby else [])) as server:
        warm = asyncio.run(crowd(server.url, files, 16, 20.0))
        capacity = sum(one.status == 200 for one in warm) / 20.0
        print(f"capacity: {capacity:.1f} requests a second", file=sys.stderr, flush=True)
        soak = Soak(server, files, options.share * capacity, time.perf_counter() + 60 * options.minutes)
        soak.attacked = options.attacked
        asyncio.run(soak.run())
        restarts = server.metric("autotune_worker_restarts")
    accepted = [one for one in soak.answers if one.status == 200]
    wrong = [one for one in accepted if one.text != expected[one.path]]
    lost = [one for one in soak.answers if one.status not in (200, 429)]
    told = {
        **conditions(document),
        "minutes": options.minutes,
        "capacity_per_s": capacity,
        "share": options.share,
        "sent": len(soak.answers),
        "answered": len(accepted),
        "turned_away": sum(one.status == 429 for one in soak.answers),
        "lost": len(lost),
        "lost_by_status": dict(Counter(str(one.status) for one in lost)),
        "wrong": len(wrong),
        "streams": streams_told(soak.streams, expected),
        "p50_s": percentile([one.seconds for one in accepted], 0.5),
        "p95_s": percentile([one.seconds for one in accepted], 0.95),
        "slo_s": options.slo_s,
        "memory_growth": growth(soak.memory, lambda one: one.front + one.workers),
        "front_growth": growth(soak.memory, lambda one: one.front),
        "workers_growth": growth(soak.memory, lambda one: one.workers),
        "second_in_flight_front_mib_workers_mib": [
            [round(one.second), one.in_flight, one.front >> 20, one.workers >> 20] for one in soak.memory if one.settled
        ][::3],
        "restarts": restarts,
        "injected": dict(soak.injected),
        "came_back": dict(sorted(soak.came_back.items())),
    }
    runs = json.loads(OUT.read_text(encoding="utf-8")) if OUT.exists() else {}
    runs[("standby" if options.standby else "one worker") + (", attacked" if options.attacked else "")] = told
    OUT.write_text(json.dumps(runs, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(json.dumps(told, indent=1, ensure_ascii=False))


if __name__ == "__main__":
    main()
