"""What a handler of Greenroom may use of its host.

A handler is a function ``execute(inputs, context)`` that returns its outputs as a dictionary. A handler with a third
parameter, or with a parameter called ``ctx``, receives a :class:`Context`; :func:`current` returns the same object.
Each call is made as the agent itself: the policy decides it, it is in the audit, and its cost is that of the agent.
"""

from __future__ import annotations

import os
from base64 import b64decode, b64encode
from threading import Lock
from typing import TYPE_CHECKING, Any

from greenroom._frames import FrameError, encode

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Artifact", "Artifacts", "Context", "HostError", "RunContext", "current"]


class HostError(Exception):
    """A call of the host that was denied or has failed."""

    def __init__(self, code: str, message: str, number: int = 0) -> None:
        """Create the error with a code of the platform, such as ``policy_denied``."""
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.number = number


class Artifact:
    """The content of an artifact or of a file."""

    def __init__(self, name: str, media_type: str, content: bytes) -> None:
        """Create it from what the host has sent."""
        self.name = name
        self.media_type = media_type
        self.content = content

    def text(self, encoding: str = "utf-8") -> str:
        """Return the content as text."""
        return self.content.decode(encoding)


class RunContext:
    """The context that the agents of a team share, or the context of the run that has called the agent."""

    def __init__(self, call: Callable[[dict[str, Any]], Any]) -> None:
        """Create it over a function that makes a call."""
        self._call = call

    def get(self, key: str, default: Any = None) -> Any:
        """Return the value of a key, or the default if the key is absent or null."""
        value = self._call({"function": "read_context", "key": key})
        return default if value is None else value

    def all(self) -> dict[str, Any]:
        """Return the value of each key."""
        return self._call({"function": "read_context"})

    def set(self, key: str, value: Any) -> None:
        """Write one key, which ``provides_to_team`` of the agent has to name."""
        self._call({"function": "write_context", "key": key, "value": value})


class Artifacts:
    """The artifacts of the tenant."""

    def __init__(self, call: Callable[[dict[str, Any]], Any]) -> None:
        """Create them over a function that makes a call."""
        self._call = call

    def open(self, artifact: Any) -> Artifact:
        """Read an artifact by its reference, or a file by the path that an input has."""
        file = self._call({"function": "open_artifact", "artifact": artifact})
        return Artifact(file["name"], file["media_type"], b64decode(file["bytes"]))

    def store(self, name: str, content: bytes | str, media_type: str = "application/octet-stream") -> dict[str, Any]:
        """Store an artifact and return its reference, which may be an output."""
        data = content.encode() if isinstance(content, str) else bytes(content)
        call = {"function": "store_artifact", "name": name, "media_type": media_type, "bytes": b64encode(data).decode()}
        return self._call(call)


class Log:
    """The log of the pod."""

    def __init__(self, call: Callable[[dict[str, Any]], Any]) -> None:
        """Create it over a function that makes a call."""
        self._call = call

    def debug(self, message: object) -> None:
        """Write a line for the developer of the handler."""
        self._write("debug", message)

    def info(self, message: object) -> None:
        """Write a line about what the handler does."""
        self._write("info", message)

    def warning(self, message: object) -> None:
        """Write a line about something that was not expected."""
        self._write("warn", message)

    def error(self, message: object) -> None:
        """Write a line about a failure."""
        self._write("error", message)

    __call__ = info

    def _write(self, level: str, message: object) -> None:
        self._call({"function": "log", "level": level, "message": str(message)})


class Context:
    """The host, as one execution of a handler uses it."""

    def __init__(self, execution: dict[str, Any], exchange: Callable[[bytes], dict[str, Any]]) -> None:
        """Create the context of one execution; ``exchange`` sends a frame and returns its reply."""
        self._exchange = exchange
        self._execution: int = execution["number"]
        self._process = os.getpid()
        self._lock = Lock()
        self._number = 0
        self._is_ended = False
        self._is_interrupted = False
        #: The id of the agent.
        self.agent: str = execution["agent"]
        #: The idempotency key of the execution, the same for each repetition.
        self.key: str = execution["key"]
        #: The seconds that were left to the execution when it began.
        self.timeout: float = execution["timeout"]
        self.context = RunContext(self._call)
        self.artifact = Artifacts(self._call)
        self.log = Log(self._call)

    def call_agent(self, agent: str, inputs: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
        """Call another agent, which ``tools`` and ``can_work_with`` of this one have to name; return its outputs."""
        return self._call({"function": "call_agent", "agent": agent, "inputs": {**(inputs or {}), **more}})

    def _call(self, call: dict[str, Any]) -> Any:
        # One call at a time: threads of a handler share the pipe to the host.
        with self._lock:
            self._check_usable()
            number = self._number + 1
            message = {"type": "host_call", "execution": self._execution, "number": number, "call": call}
            try:
                frame = encode(message)
            except FrameError as error:
                text = f"the call cannot be sent: {error}"
                raise HostError("invalid_request", text) from None
            self._number = number
            # An exception from elsewhere, such as that of a signal, may leave half a frame or a reply in the pipe.
            self._is_interrupted = True
            reply = self._exchange(frame)
            self._is_interrupted = False
        error = reply.get("error")
        if error is not None:
            raise HostError(error["code"], error["message"], number)
        return reply["file"] if "file" in reply else reply.get("value")

    def _check_usable(self) -> None:
        """Raise an error if a call could get into another execution, or its reply to another call."""
        message = None
        if os.getpid() != self._process:
            message = "only the process of the execution calls its host, and not one that it has forked"
        elif self._is_ended:
            message = "the execution has ended, and with it the calls of its host"
        elif self._is_interrupted:
            message = "an earlier call of the host was interrupted, so no further one is possible"
        if message is not None:
            raise RuntimeError(message)

    def _end(self) -> bool:
        """End the calls, once one that a thread makes has its reply. False if the pipe may have a rest of one."""
        with self._lock:
            self._is_ended = True
            return not self._is_interrupted


class _Current:
    context: Context | None = None


def current() -> Context:
    """Return the context of the execution that is in progress."""
    if _Current.context is None:
        message = "no execution of a handler is in progress"
        raise RuntimeError(message)
    return _Current.context
