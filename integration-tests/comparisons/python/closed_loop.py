"""The load of a peer that is written in Python: a closed loop over one process a core.

One interpreter uses one core, so the workflows in flight are divided over as many processes as the machine has cores.
Each process prepares itself, waits until all are ready, and then sustains its part of the load. The program prints one
line of JSON for each level.
"""

import json
import multiprocessing
import os
import time
from collections.abc import Callable

# Bounds of the start and of the end of the processes, so that one that fails ends the measurement.
START_SECONDS_MAX = 60.0
END_SECONDS_MAX = 60.0

# Called in each process with a function that waits for the other processes, the seconds of the load and the workflows
# in flight; returns the duration of each workflow in seconds.
Measure = Callable[[Callable[[], None], float, int], list[float]]


def process(measure: Measure, ready, results, seconds: float, level: int) -> None:
    results.put(measure(lambda: ready.wait(START_SECONDS_MAX), seconds, level))


def in_processes(peer: str, measure: Measure, seconds: float, level: int) -> dict:
    """Divides `level` workflows over one process a core and returns the measurements."""
    count = min(level, len(os.sched_getaffinity(0)))
    shares = [level // count + (1 if number < level % count else 0) for number in range(count)]
    context = multiprocessing.get_context("spawn")
    ready, results = context.Barrier(count + 1), context.Queue()
    processes = [context.Process(target=process, args=(measure, ready, results, seconds, share)) for share in shares]
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
        "peer": peer,
        "in_flight": level,
        "per_second": len(durations) / elapsed,
        "p50_ms": quantile(0.5),
        "p99_ms": quantile(0.99),
    }


def print_levels(peer: str, measure: Measure, words: list[str]) -> None:
    """Measures each level; `words` are the seconds and the levels."""
    seconds, levels = float(words[0]), [int(word) for word in words[1:]]
    for level in levels:
        print(json.dumps(in_processes(peer, measure, seconds, level)), flush=True)
