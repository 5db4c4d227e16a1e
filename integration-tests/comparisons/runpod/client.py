"""The client of RunPod's SDK against a fake RunPod, whose jobs `greenroom runpod worker` executes.

fake_runpod sh -c 'greenroom runpod worker & python3 client.py; code=$?; kill %1; wait; exit $code'
"""

import os
import sys

import runpod

AGENT = "data_visualization_agent"
INPUTS = {"financial_data": {"figures": {"measures": [], "by_month": []}}}


def main():
    """Get a result in each way that the client has."""
    runpod.api_key = os.environ["RUNPOD_AI_API_KEY"]
    runpod.endpoint_url_base = os.environ["RUNPOD_ENDPOINTS_URL"]
    endpoint = runpod.Endpoint(os.environ["RUNPOD_ENDPOINT_ID"])

    output = endpoint.run_sync({"input": {"agent": AGENT, "inputs": INPUTS}}, timeout=120)
    assert output["status"] == "success", output

    job = endpoint.run({"input": {"agent": AGENT, "inputs": INPUTS, "stream": True}})
    parts = list(job.stream())
    output = job.output(timeout=120)
    assert output["status"] == "success", (parts, output)

    job = endpoint.run({"input": {"agent": "no_such_agent", "inputs": {}}})
    job.output(timeout=120)
    assert job.status() == "FAILED", job.status()

    assert endpoint.health()["jobs"]["inQueue"] == 0
    print("the client got its results")


if __name__ == "__main__":
    sys.exit(main())
