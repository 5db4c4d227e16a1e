"""The worker of RunPod's SDK with the verbs of the traces: it is given the same jobs as the worker of Greenroom.

WORKER_CONCURRENCY is how many jobs it executes at once; the default is that of the SDK. With WORKER_STREAMS its results are
streams.
"""

import asyncio
import os

import runpod

CONCURRENCY = int(os.environ.get("WORKER_CONCURRENCY", "1"))
executions = {}


async def handler(job):
    """Do what the input of the job says."""
    verbs = job["input"]
    executions[job["id"]] = executions.get(job["id"], 0) + 1
    if "sleep" in verbs:
        await asyncio.sleep(verbs["sleep"])
    if "raise" in verbs:
        raise ValueError(verbs["raise"])
    if "big" in verbs:
        return "x" * verbs["big"]
    if "count" in verbs:
        return executions[job["id"]]
    return verbs.get("ret")


def stream(job):
    """Yield the items of the job."""
    for item in job["input"]["items"]:
        if item == "RAISE":
            raise RuntimeError("gen boom")
        yield item


config = {"handler": stream if os.environ.get("WORKER_STREAMS") else handler}
if CONCURRENCY > 1:
    config["concurrency_modifier"] = lambda _: CONCURRENCY
runpod.serverless.start(config)
