"""The process that executes handlers: sets its limits, then serves one call at a time over a pipe.

The process forks once. The first part imports nothing of a handler; it waits until the host closes the pipe or the
second part ends, so that a handler that keeps the interpreter busy ends with its host, too. The second part serves.
"""

from __future__ import annotations

import _thread
import contextlib
import gc
import importlib
import os
import select
import shutil
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

import greenroom
from greenroom import _limits
from greenroom._frames import FrameError, Pipe, encode

if TYPE_CHECKING:
    from collections.abc import Callable

#: Lines of a traceback, and characters of a message, that the host receives.
TRACEBACK_LINES_MAX = 12
MESSAGE_CHARS_MAX = 2_000
#: How long the first part waits, in milliseconds, until it collects the processes that have ended.
COLLECT_INTERVAL_MS = 1_000


class HandlerError(Exception):
    """A handler that cannot be called, or that has returned something that is no output."""


def main() -> None:
    """Serve the host of this process."""
    _limits.close_inherited()
    # What the handler prints must not get into the frames: the pipe moves to other descriptors.
    pipe = Pipe(os.dup(0), os.dup(1))
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.dup2(2, 1)
    os.close(null)
    settings = pipe.receive()
    sys.path[:] = [settings["handlers"], *settings["packages"], *sys.path]
    limits = settings["limits"]
    _limits.limit_resources(limits)
    os.chdir(settings["work"])
    # The first part has no restrictions, so the second one must not get into its memory.
    _limits.set_readable(readable=False)
    worker = os.fork()
    if worker != 0:
        _wait_for_end(pipe.reader, worker)
    _limits.set_readable(readable=True)
    _limits.die_with_parent()
    _limits.adopt_orphans()
    in_effect = _limits.restrict(limits)
    pipe.send({"type": "ready", "in_effect": in_effect})
    # What exists now is never collected, so that a fork of it shares its memory.
    gc.freeze()
    _serve(pipe, settings)


def _wait_for_end(reader: int, worker: int) -> None:
    """Wait until the host or the worker has ended, and end with every process of the worker."""
    ended = os.pidfd_open(worker)
    poll = select.poll()
    # The reading end of the pipe reports that its other end was closed.
    poll.register(reader, 0)
    poll.register(ended, select.POLLIN)
    while not poll.poll(COLLECT_INTERVAL_MS):
        _collect_ended(worker)
    _report_end(worker)
    os.killpg(0, 9)
    os._exit(1)


def _report_end(worker: int) -> None:
    """Print how the worker has ended, if it has: the host sees the end of this process only."""
    found, status = os.waitpid(worker, os.WNOHANG)
    if found != worker:
        return
    code = os.waitstatus_to_exitcode(status)
    text = f"the process has ended with the exit code {code}" if code >= 0 else f"signal {-code} has ended the process"
    # The pipe may be full, and what follows must not wait for it.
    os.set_blocking(2, False)
    with contextlib.suppress(OSError):
        os.write(2, f"\n({text})\n".encode())


def _collect_ended(worker: int) -> None:
    """Collect the processes that have ended and whose parents have ended, except for the worker itself."""
    while True:
        try:
            found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return
        if found is None or found.si_pid == worker:
            return
        os.waitpid(found.si_pid, 0)


def _serve(pipe: Pipe, settings: dict[str, Any]) -> None:
    handler: Callable[..., Any] | None = None
    environment, process = dict(os.environ), os.getpid()
    while True:
        try:
            call = pipe.receive()
        except EOFError:
            return
        context = _context(pipe, call["execution"])
        greenroom._Current.context = context
        try:
            if handler is None:
                handler = _load(settings["module"], settings["function"])
            reply = _execute(handler, call, context)
        except BaseException as error:
            reply = _failure(error)
        if os.getpid() != process:
            # A process that the handler has forked must not serve, too.
            os._exit(1)
        greenroom._Current.context = None
        is_in_step = context._end()
        _flush()
        left = _clean(settings["work"], environment)
        end = {"execution": call["execution"]["number"], "retire": left if is_in_step else "interrupted"}
        pipe.send_bytes(_encode_reply(reply, end))


def _context(pipe: Pipe, execution: dict[str, Any]) -> greenroom.Context:
    def exchange(frame: bytes) -> dict[str, Any]:
        pipe.send_bytes(frame)
        return pipe.receive()

    return greenroom.Context(execution, exchange)


def _encode_reply(reply: dict[str, Any], end: dict[str, Any]) -> bytes:
    try:
        return encode({**reply, **end})
    except FrameError as error:
        message = f"the outputs of the handler cannot be sent: {error}"
        return encode({**_failure(HandlerError(message)), **end})


def _load(module: str, function: str) -> Callable[..., Any]:
    loaded = importlib.import_module(module)
    handler = getattr(loaded, function, None)
    if not callable(handler):
        message = f"the module {module} has no function {function}"
        raise HandlerError(message)
    return handler


def _execute(handler: Callable[..., Any], call: dict[str, Any], context: greenroom.Context) -> dict[str, Any]:
    outputs = _call(handler, call["inputs"], call["context"], context)
    if not isinstance(outputs, dict):
        message = f"the handler has returned {type(outputs).__name__} instead of a dict with its outputs"
        raise HandlerError(message)
    return {"type": "done", "outputs": outputs}


def _call(handler: Callable[..., Any], inputs: Any, context: Any, ctx: greenroom.Context) -> Any:
    positional, accepts_ctx = _parameters(handler)
    arguments = [inputs, context, ctx][:positional]
    named = {"ctx": ctx} if accepts_ctx else {}
    result = handler(*arguments, **named)
    if hasattr(result, "__await__"):
        import asyncio  # noqa: PLC0415

        return asyncio.run(_await(result))
    return result


async def _await(result: Any) -> Any:
    return await result


def _parameters(handler: Callable[..., Any]) -> tuple[int, bool]:
    """Return how many of inputs, context and ctx are passed by position, and whether ctx is passed by its name."""
    code = getattr(handler, "__code__", None)
    if code is None or hasattr(handler, "__wrapped__"):
        import inspect  # noqa: PLC0415

        parameters = inspect.signature(handler).parameters.values()
        names = [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
        keywords = [p.name for p in parameters if p.kind is p.KEYWORD_ONLY]
    else:
        names = list(code.co_varnames[: code.co_argcount])
        keywords = list(code.co_varnames[code.co_argcount : code.co_argcount + code.co_kwonlyargcount])
    if "ctx" in names:
        return min(names.index("ctx"), 2), True
    return min(len(names), 3), "ctx" in keywords


def _failure(error: BaseException) -> dict[str, Any]:
    """Describe an exception for the host. What it says may be long, and may fail to become a text."""
    try:
        message = str(error)
    except Exception:
        message = "the exception has no text"
    lines: list[str] = []
    if not isinstance(error, HandlerError):
        # The frames of this file are no part of the handler.
        shown = traceback.extract_tb(error.__traceback__)
        frames = [frame for frame in shown if frame.filename != __file__ and "importlib" not in frame.filename]
        lines = [f"{frame.filename}:{frame.lineno} in {frame.name}: {frame.line}" for frame in frames]
    return {
        "type": "failed",
        "kind": type(error).__name__,
        "message": _bounded(message),
        "traceback": [_bounded(line) for line in lines[-TRACEBACK_LINES_MAX:]],
        "host_call": error.number if isinstance(error, greenroom.HostError) else None,
        "is_definite": isinstance(error, HandlerError),
    }


def _bounded(text: str) -> str:
    """Cut a text, and replace what is no character."""
    return text[:MESSAGE_CHARS_MAX].encode(errors="replace").decode()


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            stream.flush()


def _clean(work: str, environment: dict[str, str]) -> str | None:
    """Remove what the call has left; return why the worker cannot serve another call, if it cannot."""
    if os.environ != environment:
        os.environ.clear()
        os.environ.update(environment)
    # An alarm of this call must not ring in the next one.
    signals = sys.modules.get("signal")
    if signals is not None:
        signals.setitimer(signals.ITIMER_REAL, 0)
    try:
        os.chdir(work)
        for entry in list(os.scandir(work)):
            if entry.is_dir(follow_symlinks=False):
                shutil.rmtree(entry.path)
            else:
                Path(entry.path).unlink()
    except (OSError, RecursionError):
        return "files"
    threading = sys.modules.get("threading")
    if _thread._count() > 0 or (threading is not None and threading.active_count() > 1):
        return "threads"
    try:
        while os.waitpid(-1, os.WNOHANG)[0] != 0:
            pass
    except ChildProcessError:
        return None
    return "children"
