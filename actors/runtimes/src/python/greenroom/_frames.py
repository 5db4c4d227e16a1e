"""Frames of the protocol between a worker and its host: a length of four bytes, most significant first, and JSON."""

from __future__ import annotations

import json
import os
import re
from typing import Any

#: Bytes of the JSON of one frame.
FRAME_BYTES_MAX = 96 * 1024 * 1024
#: Values of one frame, counted as the host does: by brackets and commas.
VALUES_MAX = 1_000_000
#: Lists and dictionaries around a value.
DEPTH_MAX = 100
#: The least and the largest integer that the host reads exactly.
INTEGER_MIN, INTEGER_MAX = -(1 << 63), (1 << 64) - 1
_READ_BYTES = 1024 * 1024
#: What an integer beyond these bounds looks like; a text with such digits is only a reason to check the values.
_LONG_NUMBER = re.compile(rb"[0-9]{19}")
_encoder = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))


class FrameError(Exception):
    """A value that no frame can have: it is no JSON, or it is too large."""


def encode(message: dict[str, Any]) -> bytes:
    """Return the bytes of a frame."""
    try:
        data = _encoder.encode(message).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise FrameError(str(error)) from None
    if len(data) > FRAME_BYTES_MAX:
        text = f"it has {len(data)} bytes as JSON, the limit is {FRAME_BYTES_MAX}"
        raise FrameError(text)
    # To count bytes costs little beside encoding them; the values are visited only if they must be.
    brackets = data.count(b"[") + data.count(b"{")
    if brackets > DEPTH_MAX or brackets + data.count(b",") > VALUES_MAX or _LONG_NUMBER.search(data):
        _check(message)
    return len(data).to_bytes(4, "big") + data


def _check(message: dict[str, Any]) -> None:
    """Raise an error for values that the host does not read: too many, too deep, or an integer that is too large."""
    waiting: list[tuple[Any, int]] = [(message, 1)]
    count = 0
    while waiting:
        value, depth = waiting.pop()
        if isinstance(value, int) and not INTEGER_MIN <= value <= INTEGER_MAX:
            text = f"an integer has {value.bit_length()} bits, the limit is 64; write it as a text"
            raise FrameError(text)
        if not isinstance(value, dict | list | tuple):
            continue
        count += max(len(value), 1)
        if count > VALUES_MAX:
            text = f"it has more than {VALUES_MAX} values; store them as an artifact"
            raise FrameError(text)
        if depth > DEPTH_MAX:
            text = f"its lists and dictionaries are nested deeper than {DEPTH_MAX}"
            raise FrameError(text)
        waiting.extend((item, depth + 1) for item in (value.values() if isinstance(value, dict) else value))


class Pipe:
    """Both directions of the connection to the host."""

    def __init__(self, reader: int, writer: int) -> None:
        """Create a pipe over two file descriptors."""
        #: The descriptor that frames are read from.
        self.reader = reader
        self._writer = writer

    def send(self, message: dict[str, Any]) -> None:
        """Write one frame."""
        self.send_bytes(encode(message))

    def send_bytes(self, data: bytes) -> None:
        """Write the bytes of a frame."""
        view = memoryview(data)
        while view:
            view = view[os.write(self._writer, view) :]

    def receive(self) -> dict[str, Any]:
        """Wait for one frame; raise EOFError once the host has closed the pipe."""
        length = int.from_bytes(self._read(4), "big")
        return json.loads(self._read(length))

    def _read(self, length: int) -> bytes:
        parts = []
        while length > 0:
            part = os.read(self.reader, min(length, _READ_BYTES))
            if not part:
                raise EOFError
            parts.append(part)
            length -= len(part)
        return b"".join(parts)
