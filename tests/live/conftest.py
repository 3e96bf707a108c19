"""A real ComfyUI, started on the repository: COMFYUI_PATH names its folder, COMFYUI_PYTHON its interpreter."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from live_client import Client
from tiny import save_tiny

from pulse_core import catalogue

ROOT = Path(__file__).resolve().parents[2]
STARTS_WITHIN = 180.0
ADDRESS = "127.0.0.1"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.parent == Path(__file__).parent:
            item.add_marker(pytest.mark.live)
            if not os.environ.get("COMFYUI_PATH"):
                item.add_marker(pytest.mark.skip(reason="set COMFYUI_PATH to a ComfyUI folder to run"))


@dataclass
class Server:
    """A running host. base: its models, input, output, user and custom_nodes folders."""

    base: Path
    port: int
    log: Path

    @property
    def stylegan(self) -> Path:
        return self.base / "models" / "stylegan"

    def tail(self, lines: int = 60) -> str:
        return "\n".join(self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])


def interpreter(host: Path) -> str:
    """The Python that runs the host."""
    if os.environ.get("COMFYUI_PYTHON"):
        return os.environ["COMFYUI_PYTHON"]
    beside = [host / name / end for name in (".venv", "venv") for end in ("bin/python", "Scripts/python.exe")]
    beside.append(host.parent / "python_embeded" / "python.exe")  # the spelling of the Windows package
    return next((str(path) for path in beside if path.is_file()), sys.executable)


def folders(base: Path) -> None:
    """The host's folders: the pack, a tiny generator, the bundled pictures, the default generator if it was fetched."""
    for name in ("custom_nodes", "input", "output", "models", "user", "weights"):
        (base / name).mkdir()
    (base / "custom_nodes" / "ComfyUI-PULSE").symlink_to(ROOT, target_is_directory=True)
    save_tiny(base / "models" / "stylegan" / "tiny.safetensors")
    for picture in (ROOT / "samples").glob("*.*g"):
        shutil.copy(picture, base / "input")
    fetched = catalogue.weights_dir() / catalogue.entry(catalogue.DEFAULT_GENERATOR).file
    if fetched.is_file():
        (base / "weights" / fetched.name).symlink_to(fetched)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    host = Path(os.environ["COMFYUI_PATH"]).resolve()
    base = tmp_path_factory.mktemp("comfyui")
    folders(base)
    with socket.socket() as free:
        free.bind((ADDRESS, 0))
        port = free.getsockname()[1]
    command = [interpreter(host), str(host / "main.py"), "--cpu", "--port", str(port), "--listen", ADDRESS]
    command += ["--base-directory", str(base), "--disable-auto-launch"]
    known = (host / "comfy" / "cli_args.py").read_text(encoding="utf-8")
    for option in (["--disable-api-nodes"], ["--database-url", f"sqlite:///{base / 'comfyui.db'}"]):
        if option[0] in known:  # newer hosts than the oldest that the pack supports
            command += option
    server = Server(base, port, base / "server.log")
    # what the pack caches beside a checkpoint stays out of the checkout
    environment = {**os.environ, "PULSE_WEIGHTS": str(base / "weights")}
    with server.log.open("wb") as log:
        process = subprocess.Popen(command, cwd=host, env=environment, stdout=log, stderr=subprocess.STDOUT)
    try:
        wait_until_up(process, server)
        yield server
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def wait_until_up(process: subprocess.Popen[bytes], server: Server) -> None:
    deadline = time.monotonic() + STARTS_WITHIN
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(f"http://{ADDRESS}:{server.port}/system_stats", timeout=5):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.5)
    state = "did not answer" if process.poll() is None else f"ended with {process.returncode}"
    pytest.fail(f"ComfyUI {state}; the end of its log:\n{server.tail()}")


@pytest.fixture
def client(server: Server) -> Iterator[Client]:
    client = Client(ADDRESS, server.port)
    yield client
    client.close()


@pytest.fixture
def known(client: Client) -> dict:
    """/object_info: what the server says of its nodes."""
    return client.get_json("/object_info")


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo) -> Iterator[None]:
    """The server's log with each failure."""
    report = (yield).get_result()
    server = getattr(item, "funcargs", {}).get("server")
    if report.failed and isinstance(server, Server):
        report.sections.append(("ComfyUI's log", server.tail()))
