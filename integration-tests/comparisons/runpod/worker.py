"""The worker of RunPod's SDK with the handler of the traces: it is given the same jobs as the worker of Greenroom.

fake_runpod --jobs 20 python3 worker.py

WORKER_CONCURRENCY is how many jobs it executes at once; the default is that of the SDK.
"""

import os

import runpod

CONCURRENCY = int(os.environ.get("WORKER_CONCURRENCY", "1"))


def handler(job):
    """Return what the input of the job says."""
    return job["input"].get("ret")


config = {"handler": handler}
if CONCURRENCY > 1:
    config["concurrency_modifier"] = lambda _: CONCURRENCY
runpod.serverless.start(config)
