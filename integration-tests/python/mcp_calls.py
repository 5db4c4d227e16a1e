"""Calls agents with the official MCP client, which knows nothing of Greenroom.

It connects with each lifecycle of the protocol, lists all tools and calls one. It judges nothing: it prints one JSON
document with everything that has arrived; `integration-tests/tests/all/mcp/official_client.rs` compares it.

    python3 mcp_calls.py --tool agent_echo_agent --url http://127.0.0.1:8000/mcp --authorization "ApiKey KEY"
    python3 mcp_calls.py --tool agent_echo_agent -- greenroom mcp
"""

import argparse
import asyncio
import json
import sys
from typing import Any

import httpx2
from mcp import Client, MCPError, StdioServerParameters
from mcp.client.stdio import stdio_client
from mcp.client.streamable_http import streamable_http_client

Json = Any

# Seconds until a reply must have arrived; it only ends a test that would hang.
REPLY_WAIT = 60.0
# Without a handshake, and with one.
LIFECYCLES = ("auto", "legacy")


def connect(arguments: argparse.Namespace, mode: str) -> Client:
    """Return a client that connects by the arguments when it is entered."""
    if arguments.url is None:
        command, *words = arguments.command
        transport = stdio_client(StdioServerParameters(command=command, args=words))
    else:
        headers = {"Authorization": arguments.authorization} if arguments.authorization else {}
        http_client = httpx2.AsyncClient(headers=headers, timeout=REPLY_WAIT)
        transport = streamable_http_client(arguments.url, http_client=http_client)
    return Client(transport, mode=mode, read_timeout_seconds=REPLY_WAIT)


async def list_all(client: Client) -> list[Json]:
    """Return the tools of all pages."""
    tools, cursor = [], None
    while True:
        page = await client.list_tools(cursor=cursor)
        tools += [tool.model_dump(mode="json", by_alias=True, exclude_none=True) for tool in page.tools]
        cursor = page.next_cursor
        if cursor is None:
            return tools


async def call(client: Client, tool: str, inputs: Json) -> Json:
    """Return the result of a call, or its error."""
    try:
        result = await client.call_tool(tool, inputs)
    except MCPError as error:
        return {"error": {"code": error.code, "message": str(error)}}
    return result.model_dump(mode="json", by_alias=True, exclude_none=True)


async def inspect(arguments: argparse.Namespace, mode: str) -> Json:
    """Connect once, and do everything that a client does."""
    async with connect(arguments, mode) as client:
        return {
            "version": client.protocol_version,
            "tools": await list_all(client),
            "called": await call(client, arguments.tool, {"text": "hello"}),
            "without_input": await call(client, arguments.tool, {}),
            "unknown": await call(client, "agent_that_does_not_exist", {}),
        }


async def main() -> None:
    """Print what has arrived, by the lifecycle."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--tool", required=True)
    parser.add_argument("--url")
    parser.add_argument("--authorization")
    parser.add_argument("command", nargs="*")
    arguments = parser.parse_args()
    document = {mode: await inspect(arguments, mode) for mode in LIFECYCLES}
    json.dump(document, sys.stdout)


if __name__ == "__main__":
    asyncio.run(main())
