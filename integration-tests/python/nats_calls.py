"""Calls pods over NATS with nats-py, a client that knows nothing of Greenroom but docs/nats.md.

It finds the service, inspects it, and sends a message to each subject. It judges nothing: it prints one JSON document
with everything that has arrived; `integration-tests/tests/all/nats_python.rs` compares that with what is documented.

    python3 nats_calls.py --server nats://127.0.0.1:4222 --key KEY
"""

import argparse
import asyncio
import base64
import hashlib
import json
import sys
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import nats
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import MaxPayloadError, NoRespondersError
from nats.errors import TimeoutError as NatsTimeoutError

# Seconds until a reply must have arrived; it only ends a test that would hang.
REPLY_WAIT = 30.0
# Seconds of silence after which every instance of a service has replied.
DISCOVERY_WAIT = 0.5
# Seconds between two requests for the status of a run.
POLL_INTERVAL = 0.05
# Bytes of a chunk of an upload: what a pod takes at most.
CHUNK_BYTES = 512 * 1024
# Bytes of an input that no message of the server holds.
LARGE_BYTES = 2 * 1024 * 1024
# The status in the header of the message that the server sends when nobody receives a request.
NO_RESPONDERS = "503"

Json = Any


@dataclass(frozen=True)
class Names:
    """The definitions of the pod, which the test has written."""

    echo: str = "echo_agent"
    model: str = "llm_agent"
    summary: str = "executive_summary_agent"
    workflow: str = "row"
    signed: str = "signed"
    team: str = "letters"


@dataclass
class Caller:
    """Sends messages with the key of a user, and records where."""

    connection: Client
    prefix: str
    key: str
    subjects: list[str] = field(default_factory=list)

    def headers(self, more: Mapping[str, str]) -> dict[str, str]:
        """Return the headers of a message; an empty value leaves one out."""
        headers = {"Authorization": f"ApiKey {self.key}", **more}
        return {name: value for name, value in headers.items() if value}

    async def message(self, subject: str, body: bytes, more: Mapping[str, str]) -> Msg:
        """Send a message, and return the one that is its reply."""
        self.subjects.append(subject)
        return await self.connection.request(subject, body, timeout=REPLY_WAIT, headers=self.headers(more))

    async def call(self, rest: str, body: Json = None, more: Mapping[str, str] | None = None) -> dict[str, Json]:
        """Send a message to a subject of requests; a body that is text is sent as it is."""
        reply = await self.message(f"{self.prefix}.v1.{rest}", encode(body), more or {})
        return {"headers": reply.headers or {}, "body": json.loads(reply.data)}

    async def frames(self, rest: str, body: Json, more: Mapping[str, str] | None = None) -> AsyncIterator[Json]:
        """Send a message whose reply arrives in parts, and yield each until the empty message that ends them."""
        subject, inbox = f"{self.prefix}.v1.{rest}", self.connection.new_inbox()
        self.subjects.append(subject)
        subscription = await self.connection.subscribe(inbox)
        headers = self.headers({"Greenroom-Frames": "1", **(more or {})})
        await self.connection.publish(subject, encode(body), reply=inbox, headers=headers)
        while True:
            message = await subscription.next_msg(timeout=REPLY_WAIT)
            if (message.headers or {}).get("Status") == NO_RESPONDERS:
                raise NoRespondersError
            if not message.data:
                break
            yield json.loads(message.data)
        await subscription.unsubscribe()

    async def discover(self, subject: str) -> list[Json]:
        """Return what all instances reply to a message of discovery."""
        self.subjects.append(subject)
        inbox = self.connection.new_inbox()
        subscription = await self.connection.subscribe(inbox)
        await self.connection.publish(subject, reply=inbox)
        replies = []
        try:
            while True:
                message = await subscription.next_msg(timeout=DISCOVERY_WAIT)
                replies.append(json.loads(message.data))
        except NatsTimeoutError:
            await subscription.unsubscribe()
        return replies


def encode(body: Json) -> bytes:
    """Write a body; nothing is an empty message."""
    if body is None:
        return b""
    return body.encode() if isinstance(body, str) else json.dumps(body).encode()


async def find_service(caller: Caller) -> dict[str, Json]:
    """Find the instances of the service, and what they take: `nats micro info greenroom`."""
    found = {"ping": await caller.discover("$SRV.PING"), "info": await caller.discover("$SRV.INFO.greenroom")}
    instances = [instance["id"] for instance in found["ping"]]
    found["of_instances"] = [
        reply for instance in instances for reply in await caller.discover(f"$SRV.INFO.greenroom.{instance}")
    ]
    return found


async def call_each_subject(caller: Caller, names: Names) -> dict[str, Json]:
    """Send one message to each subject with one reply, except for those of runs."""
    text = {"inputs": {"text": "hello"}}
    team = {"team": names.team, "workflow": names.workflow, **text}
    whole = {"version": 1, "request": {"verb": "invoke", "agent": names.echo, **text}}
    replies = {
        "agent": await caller.call(f"agents.{names.echo}.execute", text),
        "documented": await caller.call(f"agents.{names.summary}.execute", '{"inputs":{"document":"…"}}'),
        "workflow": await caller.call(f"workflows.{names.workflow}.run", text),
        "team": await caller.call("teams.execute", team),
        "requests": await caller.call("requests", whole),
    }
    entries = {"agents": names.echo, "workflows": names.workflow, "teams": names.team}
    for kind, entry in entries.items():
        replies[f"{kind}_list"] = await caller.call(f"catalogue.{kind}.list")
        replies[f"{kind}_get"] = await caller.call(f"catalogue.{kind}.{entry}.get")
    return replies


async def wait_for_status(caller: Caller, run: str, status: str) -> dict[str, Json]:
    """Request the description of a run until it has this status."""
    give_up_at = time.monotonic() + REPLY_WAIT
    while True:
        reply = await caller.call(f"runs.{run}.get", {})
        if reply["body"]["outputs"].get("run", {}).get("status") == status:
            return reply
        if time.monotonic() > give_up_at:
            sys.exit(f"the run {run} is not {status}: {reply}")
        await asyncio.sleep(POLL_INTERVAL)


async def start_run(caller: Caller, names: Names) -> dict[str, Json]:
    """Start a run that awaits an approval, without waiting for its end."""
    body = {"inputs": {"text": "hello"}, "detach": True}
    started = await caller.call(f"workflows.{names.signed}.run", body)
    await wait_for_status(caller, started["body"]["id"], "waiting_approval")
    return started


async def control_runs(caller: Caller, names: Names) -> dict[str, Json]:
    """Watch and approve one run, and cancel another one."""
    started = await start_run(caller, names)
    run = started["body"]["id"]
    watch = caller.frames(f"runs.{run}.events", {})
    frames = [await anext(watch)]
    approved = await caller.call(f"runs.{run}.signal", {"signal": "approve", "step": "sign"})
    frames += [frame async for frame in watch]
    events = [frame["event"]["seq"] for frame in frames if frame["frame"] == "event"]
    later = [frame async for frame in caller.frames(f"runs.{run}.events", {"after": events[-1]})]
    other = (await start_run(caller, names))["body"]["id"]
    return {
        "started": started,
        "approved": approved,
        "watched": frames,
        "watched_after_the_last_event": later,
        "ended": await wait_for_status(caller, run, "success"),
        "cancelled": await caller.call(f"runs.{other}.cancel", {}),
        "after_cancellation": await wait_for_status(caller, other, "cancelled"),
        "resumed": await caller.call(f"runs.{other}.resume", {}),
    }


async def stream_text(caller: Caller, names: Names) -> dict[str, Json]:
    """Receive the text of a model as frames, and a refusal as one."""
    subject, body = f"agents.{names.model}.execute", {"inputs": {"text": "hello"}}
    return {
        "answer": [frame async for frame in caller.frames(subject, body)],
        "refusal": [frame async for frame in caller.frames(subject, body, {"Authorization": "ApiKey unknown"})],
    }


async def be_refused(caller: Caller, names: Names) -> dict[str, Json]:
    """Send what a pod refuses, each for another reason."""
    echo, body = f"agents.{names.echo}.execute", {"inputs": {"text": "hello"}}
    return {
        "unauthenticated": await caller.call(echo, body, {"Authorization": ""}),
        "unknown_agent": await caller.call("agents.no_such_agent.execute", body),
        "missing_input": await caller.call(echo, {"inputs": {}}),
        "invalid_request": await caller.call(echo, "{"),
        "unknown_run": await caller.call("runs.run_none.get", {}),
        # The model stays silent for this word.
        "timed_out": await caller.call(
            f"agents.{names.model}.execute", {"inputs": {"text": "hold"}}, {"Greenroom-Timeout": "500"}
        ),
    }


async def repeat_calls(caller: Caller, names: Names) -> dict[str, Json]:
    """Send one message twice with an idempotency key, and then another one with the same key."""
    subject, key = f"agents.{names.model}.execute", {"Idempotency-Key": "python-1"}
    body = {"inputs": {"text": "once"}}
    trace = {"traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"}
    return {
        "first": await caller.call(subject, body, key | trace),
        "repeated": await caller.call(subject, body, key),
        "changed": await caller.call(subject, {"inputs": {"text": "twice"}}, key),
    }


async def upload(caller: Caller, content: bytes) -> dict[str, Json]:
    """Upload content in chunks, and return the reference that the last one has as its reply."""
    opened = await caller.call("artifacts.upload", {"name": "large.txt", "media_type": "text/plain"})
    subject = opened["body"]["subject"]
    chunks = [content[start : start + CHUNK_BYTES] for start in range(0, len(content), CHUNK_BYTES)]
    acknowledged = []
    for number, chunk in enumerate([*chunks, b""]):
        headers = {"Greenroom-Chunk": str(number)}
        reply = await caller.connection.request(subject, chunk, timeout=REPLY_WAIT, headers=headers)
        acknowledged.append(json.loads(reply.data))
    return {"reference": acknowledged.pop(), "acknowledged": [reply["chunk"] for reply in acknowledged]}


async def download(caller: Caller, artifact: str) -> bytes:
    """Request the content of an artifact, part by part."""
    content = bytearray()
    while True:
        query = {"verb": "query", "query": "artifact", "hash": artifact, "after": len(content)}
        reply = await caller.call("requests", {"version": 1, "request": query})
        outputs = reply["body"]["outputs"]
        content += base64.b64decode(outputs["content"])
        if outputs["next"] is None:
            return bytes(content)


async def exchange_large_values(caller: Caller, names: Names) -> dict[str, Json]:
    """Send and receive a value that is larger than a message: as an artifact, in both directions."""
    subject, text = f"agents.{names.echo}.execute", "x" * LARGE_BYTES
    try:
        await caller.call(subject, {"inputs": {"text": text}})
        is_refused = False
    except MaxPayloadError:
        is_refused = True
    uploaded = await upload(caller, text.encode())
    reply = await caller.call(subject, {"inputs": {"text": {"$artifact": uploaded["reference"]}}})
    received = await download(caller, reply["body"]["outputs"]["text"]["$artifact"]["hash"])
    return {
        "is_refused_by_the_library": is_refused,
        "uploaded": uploaded,
        "reply": reply,
        "received_sha256": hashlib.sha256(received).hexdigest(),
        "expected_sha256": hashlib.sha256(text.encode()).hexdigest(),
    }


async def call_everything(caller: Caller, names: Names) -> dict[str, Json]:
    """Call everything; the counts of the service are requested last."""
    report = {
        "service": await find_service(caller),
        "replies": await call_each_subject(caller, names),
        "runs": await control_runs(caller, names),
        "frames": await stream_text(caller, names),
        "refusals": await be_refused(caller, names),
        "repetitions": await repeat_calls(caller, names),
        "large_values": await exchange_large_values(caller, names),
        "stats": await caller.discover("$SRV.STATS.greenroom"),
    }
    return report | {"subjects": caller.subjects}


async def run(server: str, prefix: str, key: str) -> None:
    """Connect, call everything, and print what has arrived."""
    connection = await nats.connect(server, name="nats_calls.py")
    try:
        report = await call_everything(Caller(connection, prefix, key), Names())
    finally:
        await connection.close()
    json.dump(report, sys.stdout)


def main() -> None:
    """Read the arguments."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--server", required=True, help="URL of the NATS server")
    parser.add_argument("--prefix", default="greenroom", help="what every subject begins with")
    parser.add_argument("--key", required=True, help="key of a user of the pods")
    arguments = parser.parse_args()
    asyncio.run(run(arguments.server, arguments.prefix, arguments.key))


if __name__ == "__main__":
    main()
