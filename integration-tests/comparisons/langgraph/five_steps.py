"""The five-step durable workflow on LangGraph with its SQLite or its PostgreSQL checkpointer, and its load generator.

usage: five_steps.py sqlite|postgres SECONDS LEVEL...   prints one line of JSON per level. The PostgreSQL database is that
of DATABASE_URL.

Each node only counts, like the no-op agent of Greenroom's own measurement. Every checkpoint is written before the next
node runs (durability "sync"), with SQLite's FULL sync and PostgreSQL's default one. On SQLite each process has a database
of its own, so that none waits for another's lock. On PostgreSQL all processes use one database. There a checkpointer
sends one request at a time, whatever pool it has, so each process has several, each with a connection of its own.
"""

import asyncio
import os
import sys
import tempfile
import time
import uuid
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TypedDict

from closed_loop import print_levels
from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from langgraph.graph import END, START, StateGraph

# Checkpointers of a process on PostgreSQL.
CHECKPOINTERS_MAX = 20


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


async def call(app, number: int) -> None:
    """Runs one workflow and checks its value."""
    thread = {"configurable": {"thread_id": uuid.uuid4().hex}}
    result = await app.ainvoke({"total": number}, thread, durability="sync")
    assert result["total"] == number + 5, result


async def load(savers: list, wait_until_ready, seconds: float, level: int) -> list[float]:
    """Keeps `level` workflows in flight for `seconds`, divided over the checkpointers, and returns their durations."""
    apps = [graph().compile(checkpointer=saver) for saver in savers]
    for app in apps:
        await call(app, 0)
    durations: list[float] = []
    wait_until_ready()
    start = time.perf_counter()

    async def worker(number: int) -> None:
        while time.perf_counter() - start < seconds:
            started_at = time.perf_counter()
            await call(apps[number % len(apps)], number)
            durations.append(time.perf_counter() - started_at)

    await asyncio.gather(*(worker(number) for number in range(level)))
    return durations


async def load_sqlite(wait_until_ready, seconds: float, level: int) -> list[float]:
    with tempfile.TemporaryDirectory() as folder:
        async with AsyncSqliteSaver.from_conn_string(str(Path(folder) / "checkpoints.sqlite")) as saver:
            await saver.setup()
            await saver.conn.execute("PRAGMA synchronous=FULL")
            return await load([saver], wait_until_ready, seconds, level)


async def load_postgres(wait_until_ready, seconds: float, level: int) -> list[float]:
    async with AsyncExitStack() as stack:
        savers = [
            await stack.enter_async_context(AsyncPostgresSaver.from_conn_string(os.environ["DATABASE_URL"]))
            for _ in range(min(level, CHECKPOINTERS_MAX))
        ]
        return await load(savers, wait_until_ready, seconds, level)


async def create_tables() -> None:
    async with AsyncPostgresSaver.from_conn_string(os.environ["DATABASE_URL"]) as saver:
        await saver.setup()


def measure_sqlite(wait_until_ready, seconds: float, level: int) -> list[float]:
    return asyncio.run(load_sqlite(wait_until_ready, seconds, level))


def measure_postgres(wait_until_ready, seconds: float, level: int) -> list[float]:
    return asyncio.run(load_postgres(wait_until_ready, seconds, level))


def main() -> None:
    checkpointer, words = sys.argv[1], sys.argv[2:]
    if checkpointer == "postgres":
        asyncio.run(create_tables())
        print_levels("langgraph", measure_postgres, words)
    else:
        print_levels("langgraph", measure_sqlite, words)


if __name__ == "__main__":
    main()
