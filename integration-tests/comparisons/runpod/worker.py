"""The worker of RunPod's SDK with the handler of the traces: it is given the same jobs as the worker of Greenroom.

fake_runpod --jobs 20 python3 worker.py
"""

import runpod


def handler(job):
    """Return what the input of the job says."""
    return job["input"].get("ret")


runpod.serverless.start({"handler": handler})
