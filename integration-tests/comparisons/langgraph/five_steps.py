"""The five-step durable workflow on LangGraph with its SQLite checkpointer, and its load generator.

usage: five_steps.py SECONDS LEVEL...   prints one line of JSON per level.

Each node only counts, like the no-op agent of Greenroom's own measurement. Every checkpoint is written
before the next node runs (durability "sync"), with SQLite's FULL sync.
"""

import asyncio
import json
import sys
import tempfile
import time
import uuid
from pathlib import Path
from typing import TypedDict

from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from langgraph.graph import END, START, StateGraph


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


async def load(app, seconds: float, level: int) -> dict:
    """Keeps `level` workflows in flight for `seconds` and returns the measurements."""
    durations: list[float] = []
    start = time.perf_counter()

    async def worker() -> None:
        while time.perf_counter() - start < seconds:
            started_at = time.perf_counter()
            thread = {"configurable": {"thread_id": uuid.uuid4().hex}}
            result = await app.ainvoke({"total": 0}, thread, durability="sync")
            assert result["total"] == 5, result
            durations.append(time.perf_counter() - started_at)

    await asyncio.gather(*(worker() for _ in range(level)))
    elapsed = time.perf_counter() - start
    durations.sort()

    def quantile(share: float) -> float:
        return durations[int((len(durations) - 1) * share)] * 1e3

    return {
        "peer": "langgraph",
        "in_flight": level,
        "per_second": len(durations) / elapsed,
        "p50_ms": quantile(0.5),
        "p99_ms": quantile(0.99),
    }


async def main() -> None:
    seconds, levels = float(sys.argv[1]), [int(word) for word in sys.argv[2:]]
    with tempfile.TemporaryDirectory() as folder:
        async with AsyncSqliteSaver.from_conn_string(str(Path(folder) / "checkpoints.sqlite")) as saver:
            await saver.setup()
            await saver.conn.execute("PRAGMA synchronous=FULL")
            app = graph().compile(checkpointer=saver)
            for level in levels:
                print(json.dumps(await load(app, seconds, level)), flush=True)


asyncio.run(main())
