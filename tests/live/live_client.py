"""A client of a ComfyUI server: HTTP, and as much of a websocket (RFC 6455) as listening needs."""

from __future__ import annotations

import base64
import json
import os
import socket
import struct
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

CONTINUED, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
PREVIEW, JPEG = 1, 1  # the host's numbers for a binary message with an image, and its format
ENDS = ("execution_success", "execution_error", "execution_interrupted")


class WebSocket:
    """Reads whole messages; sends nothing but pongs."""

    def __init__(self, host: str, port: int, path: str):
        self._socket = socket.create_connection((host, port), timeout=10)
        key = base64.b64encode(os.urandom(16)).decode()
        lines = (
            f"GET {path} HTTP/1.1",
            f"Host: {host}:{port}",
            "Upgrade: websocket",
            "Connection: Upgrade",
            f"Sec-WebSocket-Key: {key}",
            "Sec-WebSocket-Version: 13",
        )
        self._socket.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += self._exactly(1)
        if b" 101 " not in head.split(b"\r\n")[0]:
            raise ConnectionError(f"no websocket at {path}: {head!r}")

    def receive(self, timeout: float) -> str | bytes:
        """The next message; TimeoutError if none comes in time."""
        self._socket.settimeout(max(timeout, 0.01))
        message, kind = b"", TEXT
        while True:
            first, second = self._exactly(2)
            opcode, length = first & 15, second & 127
            if length > 125:
                length = struct.unpack(">H", self._exactly(2))[0] if length == 126 else self._long()
            payload = self._exactly(length)
            if opcode == PING:
                # what a client sends is masked; a mask of zeros leaves it as it is
                self._socket.sendall(bytes([128 | PONG, 128 | length, 0, 0, 0, 0]) + payload)
            elif opcode == CLOSE:
                raise ConnectionError("the server closed the websocket")
            elif opcode in (CONTINUED, TEXT, BINARY):
                kind = opcode or kind
                message += payload
                if first & 128:
                    return message.decode() if kind == TEXT else message

    def close(self) -> None:
        self._socket.close()

    def _long(self) -> int:
        return struct.unpack(">Q", self._exactly(8))[0]

    def _exactly(self, count: int) -> bytes:
        data = bytearray()
        while len(data) < count:
            part = self._socket.recv(count - len(data))
            if not part:
                raise ConnectionError("the server hung up")
            data += part
        return bytes(data)


class Refused(Exception):
    """The server did not accept what was posted; its answer."""


@dataclass
class Run:
    """What the server told of one queued graph.

    events: (type, data); previews: binary messages, as they came; texts: what nodes say of their results, by node;
    marks: how many events had come at each news of the server's queue, which no run is named in.
    """

    prompt_id: str
    events: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    previews: list[bytes] = field(default_factory=list)
    texts: dict[str, str] = field(default_factory=dict)
    marks: list[int] = field(default_factory=list)
    history: dict[str, Any] = field(default_factory=dict)

    @property
    def end(self) -> str:
        return self.events[-1][0]

    @property
    def cached(self) -> set[str]:
        return {node for data in self.of("execution_cached") for node in data["nodes"]}

    @property
    def error(self) -> str:
        """The text that a user reads; empty where all went well."""
        return "".join(data["exception_message"] for data in self.of("execution_error"))

    def keep_text(self, kind: str, data: dict[str, Any]) -> None:
        """Keeps what an event says of a node's result; cached nodes may have none."""
        if kind == "executed" and (data["output"] or {}).get("text"):
            self.texts[data["node"]] = "\n".join(data["output"]["text"])

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [data for name, data in self.events if name == kind]

    def succeeded(self) -> bool:
        """Whether it ended well and without an error."""
        return (self.end, self.error) == ("execution_success", "")

    def images(self) -> list[dict[str, str]]:
        """Where the server keeps the images of the output nodes."""
        return [image for output in self.history["outputs"].values() for image in output.get("images", [])]


class Client:
    """One browser tab, so to say."""

    def __init__(self, host: str, port: int):
        self._url, self._id = f"http://{host}:{port}", uuid.uuid4().hex
        self._socket = WebSocket(host, port, f"/ws?clientId={self._id}")

    def close(self) -> None:
        self._socket.close()

    def get(self, path: str, **query: str) -> bytes:
        address = f"{self._url}{path}" + (f"?{urllib.parse.urlencode(query)}" if query else "")
        with urllib.request.urlopen(address, timeout=60) as response:
            return response.read()

    def get_json(self, path: str, **query: str) -> Any:
        return json.loads(self.get(path, **query))

    def post(self, path: str, content: Any) -> Any:
        body = json.dumps(content).encode()
        request = urllib.request.Request(f"{self._url}{path}", body, {"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=60) as response:
                return json.loads(response.read() or b"null")
        except urllib.error.HTTPError as error:
            raise Refused(error.read().decode()) from error

    def queue(self, graph: dict[str, Any]) -> Run:
        """Queues a graph in the API format, with a stand-in for the workflow that the front end sends along."""
        extra = {"extra_pnginfo": {"workflow": {"nodes": len(graph)}}}
        return Run(self.post("/prompt", {"prompt": graph, "client_id": self._id, "extra_data": extra})["prompt_id"])

    def follow(self, run: Run, timeout: float) -> Iterator[tuple[str, dict[str, Any]]]:
        """The events of a run as they come, up to its end; TimeoutError if that takes too long."""
        deadline = time.monotonic() + timeout
        while True:
            message = self._socket.receive(deadline - time.monotonic())
            if isinstance(message, bytes):
                run.previews.append(message)
                continue
            event = json.loads(message)
            if event["type"] == "status":
                run.marks.append(len(run.events))
            if event["data"].get("prompt_id") != run.prompt_id:
                continue
            run.events.append((event["type"], event["data"]))
            run.keep_text(*run.events[-1])
            yield run.events[-1]
            if event["type"] in ENDS:
                return

    def run(self, graph: dict[str, Any], timeout: float = 120) -> Run:
        """Queues a graph and waits for its end."""
        run = self.queue(graph)
        return self.finish(run, timeout)

    def finish(self, run: Run, timeout: float = 120) -> Run:
        for _ in self.follow(run, timeout):
            pass
        deadline = time.monotonic() + 30
        while not run.history and time.monotonic() < deadline:  # written a moment after the last event
            run.history = self.get_json(f"/history/{run.prompt_id}").get(run.prompt_id, {})
            time.sleep(0.02)
        return run
