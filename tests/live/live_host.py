"""A real ComfyUI on the repository: COMFYUI_PATH names its folder, COMFYUI_PYTHON its interpreter.

COMFYUI_FRONT_END names another front end than the host's: the folder `static` of a comfyui-frontend-package.
"""

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
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tiny import save_tiny

from pulse_core.loading import catalogue

ROOT = Path(__file__).resolve().parents[2]
STARTS_WITHIN = 180.0
ADDRESS = "127.0.0.1"


@dataclass
class Server:
    """A running host. base: its models, input, output, user and custom_nodes folders."""

    base: Path
    port: int
    log: Path
    pid: int

    @property
    def url(self) -> str:
        return f"http://{ADDRESS}:{self.port}/"

    @property
    def stylegan(self) -> Path:
        return self.base / "models" / "stylegan"

    @property
    def has_default_generator(self) -> bool:
        return (self.base / "weights" / default_generator().name).is_file()

    def tail(self, lines: int = 60) -> str:
        return "\n".join(self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])


def default_generator() -> Path:
    """Where it is, if it was fetched."""
    return catalogue.weights_dir() / catalogue.entry(catalogue.DEFAULT_GENERATOR).file


def host_folder() -> Path:
    return Path(os.environ["COMFYUI_PATH"]).resolve()


def interpreter(host: Path) -> str:
    """The Python that runs the host."""
    if os.environ.get("COMFYUI_PYTHON"):
        return os.environ["COMFYUI_PYTHON"]
    beside = [host / name / end for name in (".venv", "venv") for end in ("bin/python", "Scripts/python.exe")]
    beside.append(host.parent / "python_embeded" / "python.exe")  # the spelling of the Windows package
    return next((str(path) for path in beside if path.is_file()), sys.executable)


def folders(base: Path, *, pack: bool = True) -> None:
    """The host's folders: the pack, a tiny generator, the bundled pictures, the default generator if it was fetched."""
    for name in ("custom_nodes", "input", "output", "models", "user", "weights"):
        (base / name).mkdir()
    if pack:
        (base / "custom_nodes" / "ComfyUI-PULSE").symlink_to(ROOT, target_is_directory=True)
    save_tiny(base / "models" / "stylegan" / "tiny.safetensors")
    for picture in (ROOT / "samples").glob("*.*g"):
        shutil.copy(picture, base / "input")
    fetched = default_generator()
    if fetched.is_file():
        (base / "weights" / fetched.name).symlink_to(fetched)


def command(base: Path, *options: str) -> list[str]:
    """What starts the host on the CPU with the folders of `base`."""
    host = host_folder()
    words = [interpreter(host), str(host / "main.py"), "--cpu", "--base-directory", str(base), *options]
    known = (host / "comfy" / "cli_args.py").read_text(encoding="utf-8")
    for option in (["--disable-api-nodes"], ["--database-url", f"sqlite:///{base / 'comfyui.db'}"]):
        if option[0] in known:  # newer hosts than the oldest that the pack supports
            words += option
    if os.environ.get("COMFYUI_FRONT_END"):
        words += ["--front-end-root", os.environ["COMFYUI_FRONT_END"]]
    return words


def environment(base: Path) -> dict[str, str]:
    """What the pack caches beside a checkpoint stays out of the checkout."""
    return {**os.environ, "PULSE_WEIGHTS": str(base / "weights")}


@contextmanager
def running(base: Path) -> Iterator[Server]:
    """Starts the host on the folders of `base`, and ends it."""
    with socket.socket() as free:
        free.bind((ADDRESS, 0))
        port = free.getsockname()[1]
    words = command(base, "--port", str(port), "--listen", ADDRESS, "--disable-auto-launch")
    path = base / "server.log"
    with path.open("wb") as log:
        process = subprocess.Popen(words, cwd=host_folder(), env=environment(base), stdout=log, stderr=log)
    server = Server(base, port, path, process.pid)
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
            with urllib.request.urlopen(f"{server.url}system_stats", timeout=5):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.5)
    state = "did not answer" if process.poll() is None else f"ended with {process.returncode}"
    raise RuntimeError(f"ComfyUI {state}; the end of its log:\n{server.tail()}")
