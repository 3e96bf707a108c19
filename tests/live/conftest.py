"""A real ComfyUI, started on the repository: COMFYUI_PATH names its folder, COMFYUI_PYTHON its interpreter."""

from __future__ import annotations

import io
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from graphs import complete
from live_client import Client, Run
from live_host import ADDRESS, Server, folders, running
from PIL import Image

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.parent == Path(__file__).parent:
            item.add_marker(pytest.mark.live)
            if not os.environ.get("COMFYUI_PATH"):
                item.add_marker(pytest.mark.skip(reason="set COMFYUI_PATH to a ComfyUI folder to run"))


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    base = tmp_path_factory.mktemp("comfyui")
    folders(base)
    shutil.copy(HERE / "live_probe.py", base / "custom_nodes")
    with running(base) as server:
        yield server


@pytest.fixture
def client(server: Server) -> Iterator[Client]:
    client = Client(ADDRESS, server.port)
    yield client
    client.close()


@pytest.fixture
def known(client: Client) -> dict:
    """/object_info: what the server says of its nodes."""
    return client.get_json("/object_info")


@pytest.fixture
def run(client: Client, known: dict) -> Callable[[dict], Run]:
    """run(graph) -> what the server told of it."""
    return lambda graph: client.run(complete(graph, known))


@pytest.fixture
def pictures(client: Client) -> Callable[[Run], list[Image.Image]]:
    """pictures(run) -> the images that its output nodes show, through the server."""
    return lambda run: [Image.open(io.BytesIO(client.get("/view", **place))) for place in run.images()]


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo) -> Iterator[None]:
    """The server's log with each failure."""
    report = (yield).get_result()
    server = getattr(item, "funcargs", {}).get("server")
    if report.failed and isinstance(server, Server):
        report.sections.append(("ComfyUI's log", server.tail()))
