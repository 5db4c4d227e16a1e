"""The five-step durable workflow on DBOS, and its load generator.

usage: five_steps.py SECONDS LEVEL...   prints one line of JSON per level. The PostgreSQL database is that of DATABASE_URL.

Each step only counts, like the no-op agent of Greenroom's own measurement. The settings are the defaults. All processes
use one database, each as an executor of its own; in a process, each caller is a thread.
"""

import os
import sys
import threading
import time

from closed_loop import print_levels
from dbos import DBOS, DBOSConfig


@DBOS.step()
def step(total: int) -> int:
    return total + 1


@DBOS.workflow()
def five_steps(total: int) -> int:
    for _ in range(5):
        total = step(total)
    return total


def call(number: int) -> None:
    """Runs one workflow and checks its value."""
    result = five_steps(number)
    assert result == number + 5, result


def launch() -> None:
    config: DBOSConfig = {
        "name": "five_steps",
        "system_database_url": os.environ["DATABASE_URL"],
        "executor_id": f"process-{os.getpid()}",
        "log_level": "WARNING",
    }
    DBOS(config=config)
    DBOS.launch()


def load(seconds: float, level: int) -> list[float]:
    """Keeps `level` workflows in flight for `seconds` and returns their durations."""
    durations: list[float] = []
    failures: list[Exception] = []
    start = time.perf_counter()

    def worker(number: int) -> None:
        try:
            while time.perf_counter() - start < seconds and not failures:
                started_at = time.perf_counter()
                call(number)
                durations.append(time.perf_counter() - started_at)
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=worker, args=(number,)) for number in range(level)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
    return durations


def measure(wait_until_ready, seconds: float, level: int) -> list[float]:
    launch()
    call(0)
    wait_until_ready()
    durations = load(seconds, level)
    DBOS.destroy()
    return durations


def main() -> None:
    # Creates the tables, which processes that start at once need not do together.
    launch()
    DBOS.destroy()
    print_levels("dbos", measure, sys.argv[1:])


if __name__ == "__main__":
    main()
