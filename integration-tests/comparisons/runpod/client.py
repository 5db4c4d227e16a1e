"""The client of RunPod's SDK against the RunPod of the tests, whose jobs a worker of Greenroom executes.

It gets a result in each way that the client has; `runpod_comparison` starts it with the address and the key. The inputs are the
verbs of the traces.
"""

import os
import sys

import runpod

# Seconds until a result must have arrived; they only end a comparison that would hang.
RESULT_WAIT = 120


def main() -> None:
    """Get a result, a stream, a failure and a cancellation."""
    runpod.api_key = os.environ["RUNPOD_AI_API_KEY"]
    runpod.endpoint_url_base = os.environ["RUNPOD_ENDPOINTS_URL"]
    endpoint = runpod.Endpoint(os.environ["RUNPOD_ENDPOINT_ID"])

    output = endpoint.run_sync({"input": {"ret": {"hello": "wörld"}}}, timeout=RESULT_WAIT)
    expect(output, {"hello": "wörld"})

    job = endpoint.run({"input": {"sleep": 2, "ret": [1, 2]}})
    expect(job.output(timeout=RESULT_WAIT), [1, 2])
    expect(job.status(), "COMPLETED")

    items = ["The ", "quarter ", {"k": 1}, ["x"]]
    job = endpoint.run({"input": {"items": items}})
    expect(list(job.stream()), items)
    expect(job.status(), "COMPLETED")

    job = endpoint.run({"input": {"raise": "bad"}})
    job.output(timeout=RESULT_WAIT)
    expect(job.status(), "FAILED")

    job = endpoint.run({"input": {"sleep": 3000}})
    expect(job.cancel()["status"], "CANCELLED")
    expect(job.status(), "CANCELLED")

    expect(endpoint.health()["jobs"]["inQueue"], 0)


def expect(found: object, expected: object) -> None:
    """End with both values if they differ."""
    if found != expected:
        sys.exit(f"expected {expected!r}, got {found!r}")


if __name__ == "__main__":
    main()
