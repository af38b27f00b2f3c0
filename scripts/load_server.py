"""Put load on a running server: clients in real time, clients that come and go, messages that make no sense.

    audiotool serve --port 8321 --capacity 200 &
    python scripts/load_server.py real-time --clients 50 --seconds 60
    python scripts/load_server.py come-and-go --count 1000
    python scripts/load_server.py nonsense --count 1000

"added delay" of a message: from when the server had been sent all that its first sample may need (its time
and the declared latency) until it arrived; 0 where it came before. Clients and server share the machine; the
server's processor time, which does not depend on what else runs there, is told by its /metrics.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import re
import time
import urllib.request
from collections import Counter

import numpy as np
from plain_errors import run_script
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

BLOCK_SECONDS = 0.02


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("mode", choices=("real-time", "come-and-go", "nonsense"))
    parser.add_argument("--address", default="127.0.0.1:8321")
    parser.add_argument("--clients", type=int, default=50, help="at once")
    parser.add_argument("--seconds", type=float, default=60.0, help="of each stream in real time")
    parser.add_argument("--count", type=int, default=1000, help="connections, or messages")
    parser.add_argument("--rate", type=int, default=16000)
    options = parser.parse_args()
    random.seed(0)
    before = metrics(options.address)
    if options.mode == "real-time":
        asyncio.run(real_time(options))
    else:
        asyncio.run(many(options, come_and_go if options.mode == "come-and-go" else nonsense))
    for _ in range(600):  # the last ones are still leaving
        after = metrics(options.address)
        if not after["audiotool_streams"]:
            break
        time.sleep(0.1)
    print_counters(before, after)


def metrics(address: str) -> dict[str, float]:
    """Return the counters of the server."""
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=60) as answer:
        lines = answer.read().decode().splitlines()
    return {name: float(value) for name, value in (line.split() for line in lines if line[0] != "#")}


def print_counters(before: dict[str, float], after: dict[str, float]) -> None:
    """Print the difference of the server's counters, and the memory, threads and files that remain."""
    done = {name: after[name] - before[name] for name in after}
    audio, spent = done["audiotool_audio_seconds_total"], done["process_cpu_seconds_total"]
    rounds = done["audiotool_rounds_total"] or 1.0
    print(
        f"server: {done['audiotool_streams_total']:.0f} streams, {done['audiotool_refused_total']:.0f} were"
        f" refused, {done['audiotool_failed_total']:.0f} failed, {after['audiotool_streams']:.0f} left open;"
        f" {audio:.0f} s of audio in {spent:.1f} s of processor time ({audio / spent:.0f} streams a core),"
        f" a round took {1000 * done['audiotool_round_seconds_total'] / rounds:.1f} ms"
    )


async def real_time(options: argparse.Namespace) -> None:
    """All clients at once, each at the pace of its samples."""
    results = await asyncio.gather(
        *(stream(options, n) for n in range(options.clients)), return_exceptions=True
    )
    broken = [result for result in results if isinstance(result, BaseException)]
    delays = np.concatenate([r for r in results if not isinstance(r, BaseException)] or [np.zeros(0)])
    if len(delays):
        p50, p99 = np.percentile(1000 * delays, (50, 99))
        print(
            f"{options.clients} clients, {options.seconds:g} s: added delay p50 {p50:.1f} ms,"
            f" p99 {p99:.1f} ms, longest {1000 * delays.max():.1f} ms"
        )
    print(f"{len(broken)} broke off {broken[:1]}")


async def stream(options: argparse.Namespace, number: int) -> np.ndarray:
    """Seconds of added delay of each message of one client."""
    rate = options.rate
    size = round(BLOCK_SECONDS * rate)
    noise = (3000 * np.random.default_rng(number).standard_normal(rate)).astype("<i2")
    await asyncio.sleep(random.random() * BLOCK_SECONDS * 10)
    async with connect(f"ws://{options.address}/v1/stream?rate={rate}", open_timeout=60) as socket:
        hello = json.loads(await socket.recv())
        sent_at: list[float] = []

        async def send() -> None:
            began = time.perf_counter()
            for n in range(round(options.seconds / BLOCK_SECONDS)):
                await asyncio.sleep(max(0.0, began + n * BLOCK_SECONDS - time.perf_counter()))
                first = n * size % (rate - size)
                sent_at.append(time.perf_counter())
                await socket.send(noise[first : first + size].tobytes())
            await socket.send('{"type": "end"}')

        sending = asyncio.create_task(send())
        delays, got = [], 0
        async for message in socket:
            if isinstance(message, str):
                break
            block = (got + hello["latency_samples"]) // size
            delays.append(time.perf_counter() - sent_at[block] if block < len(sent_at) else 0.0)
            got += len(message) // 2
        await sending
        if got != round(options.seconds / BLOCK_SECONDS) * size:
            raise RuntimeError(f"{got} samples came back")
    return np.array(delays)


async def many(options: argparse.Namespace, client: object) -> None:
    """`count` clients, `clients` of them at once; how each ended."""
    places, ends = asyncio.Semaphore(options.clients), Counter[str]()

    async def one() -> None:
        async with places:
            ends[await client(options)] += 1  # type: ignore[operator]

    began = time.perf_counter()
    await asyncio.gather(*(one() for _ in range(options.count)))
    print(f"{options.count} in {time.perf_counter() - began:.1f} s:")
    for end, count in ends.most_common():
        print(f"  {count:6d}  {end}")


async def come_and_go(options: argparse.Namespace) -> str:
    """Connect, send a little or nothing, and go in one way or another."""
    data, way = bytes(random.randrange(0, 6000)), random.choice(("vanish", "close", "end"))
    try:
        socket = await connect(f"ws://{options.address}/v1/stream?rate={options.rate}", open_timeout=60)
        if random.random() < 0.8:
            await socket.send(data)
        if random.random() < 0.5:
            await asyncio.wait_for(socket.recv(), 30)
        if way == "vanish":
            socket.transport.abort()
        elif way == "close":
            await socket.close()
        else:
            await socket.send('{"type": "end"}')
            async for message in socket:
                if isinstance(message, str) and "bye" in message:
                    way = "end, bye"
    except ConnectionClosed as closed:
        return f"refused: {closed.rcvd.code} {closed.rcvd.reason[:80]}" if closed.rcvd else "no closing frame"
    except (OSError, asyncio.TimeoutError) as error:
        return type(error).__name__
    return way


async def nonsense(options: argparse.Namespace) -> str:
    """Send one invalid message; return the close code of the answer."""
    kind = random.randrange(5)
    text = "".join(chr(random.randrange(1, 0x2FFF)) for _ in range(random.randrange(200)))
    try:
        query = (
            "?format=f32le" if kind == 1 else f"?rate={random.randrange(-9, 10**7)}&x" if kind == 2 else ""
        )
        async with connect(f"ws://{options.address}/v1/stream{query}", open_timeout=60) as socket:
            if kind in (0, 3):
                await socket.send(text if kind else json.dumps({"type": text}))
            elif kind == 1:
                await socket.send(np.full(600, np.nan, "<f4").tobytes())
            elif kind == 4:
                await socket.send(bytes((1 << 20) + 1 + random.randrange(100)))
            async for _ in socket:
                pass
    except ConnectionClosed as closed:
        if closed.rcvd is None:
            return "no closing frame"
        return f"{closed.rcvd.code} {re.sub(r'[0-9]{4,}', 'N', closed.rcvd.reason[:60])}"
    except (OSError, asyncio.TimeoutError) as error:
        return type(error).__name__
    return "a normal end"


if __name__ == "__main__":
    run_script(main)
