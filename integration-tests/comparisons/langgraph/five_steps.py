"""The five-step durable workflow on LangGraph with its SQLite checkpointer, and its load generator.

usage: five_steps.py SECONDS LEVEL...   prints one line of JSON per level.

Each node only counts, like the no-op agent of Greenroom's own measurement. Every checkpoint is written
before the next node runs (durability "sync"), with SQLite's FULL sync. One interpreter uses one core, so the
workflows are divided over one process a core. Each process has a database of its own, so that none waits for
another's lock.
"""

import asyncio
import json
import multiprocessing
import os
import sys
import tempfile
import time
import uuid
from pathlib import Path
from typing import TypedDict

from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from langgraph.graph import END, START, StateGraph


# Bounds of the start and of the end of the processes, so that one that fails ends the measurement.
START_SECONDS_MAX = 60.0
END_SECONDS_MAX = 60.0


class State(TypedDict):
    total: int


async def step(state: State) -> State:
    return {"total": state["total"] + 1}


def graph() -> StateGraph:
    """Five nodes in a row."""
    builder = StateGraph(State)
    names = [f"step_{number}" for number in range(5)]
    for name in names:
        builder.add_node(name, step)
    for before, after in zip([START, *names], [*names, END]):
        builder.add_edge(before, after)
    return builder


async def load(app, seconds: float, level: int) -> list[float]:
    """Keeps `level` workflows in flight for `seconds` and returns their durations."""
    durations: list[float] = []
    start = time.perf_counter()

    async def worker(number: int) -> None:
        while time.perf_counter() - start < seconds:
            started_at = time.perf_counter()
            thread = {"configurable": {"thread_id": uuid.uuid4().hex}}
            result = await app.ainvoke({"total": number}, thread, durability="sync")
            assert result["total"] == number + 5, result
            durations.append(time.perf_counter() - started_at)

    await asyncio.gather(*(worker(number) for number in range(level)))
    return durations


async def measure(ready, seconds: float, level: int) -> list[float]:
    """Prepares a database and waits for the other processes before the load starts."""
    with tempfile.TemporaryDirectory() as folder:
        async with AsyncSqliteSaver.from_conn_string(str(Path(folder) / "checkpoints.sqlite")) as saver:
            await saver.setup()
            await saver.conn.execute("PRAGMA synchronous=FULL")
            app = graph().compile(checkpointer=saver)
            await app.ainvoke({"total": 0}, {"configurable": {"thread_id": "first"}}, durability="sync")
            ready.wait(START_SECONDS_MAX)
            return await load(app, seconds, level)


def process(ready, results, seconds: float, level: int) -> None:
    results.put(asyncio.run(measure(ready, seconds, level)))


def in_processes(seconds: float, level: int) -> dict:
    """Divides `level` workflows over one process a core and returns the measurements."""
    count = min(level, len(os.sched_getaffinity(0)))
    shares = [level // count + (1 if number < level % count else 0) for number in range(count)]
    context = multiprocessing.get_context("spawn")
    ready, results = context.Barrier(count + 1), context.Queue()
    processes = [context.Process(target=process, args=(ready, results, seconds, share)) for share in shares]
    for each in processes:
        each.start()
    ready.wait(START_SECONDS_MAX)
    started_at = time.perf_counter()
    durations = sorted(duration for _ in processes for duration in results.get(timeout=seconds + END_SECONDS_MAX))
    elapsed = time.perf_counter() - started_at
    for each in processes:
        each.join()
        assert each.exitcode == 0, each.exitcode

    def quantile(share: float) -> float:
        return durations[int((len(durations) - 1) * share)] * 1e3

    return {
        "peer": "langgraph",
        "in_flight": level,
        "per_second": len(durations) / elapsed,
        "p50_ms": quantile(0.5),
        "p99_ms": quantile(0.99),
    }


def main() -> None:
    seconds, levels = float(sys.argv[1]), [int(word) for word in sys.argv[2:]]
    for level in levels:
        print(json.dumps(in_processes(seconds, level)), flush=True)


if __name__ == "__main__":
    main()
