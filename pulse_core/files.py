"""Files, written whole or not at all, and only regular ones read."""

from __future__ import annotations

import os
import re
import stat
import sys
import tempfile
import time
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_HOST = f"{zlib.crc32(os.fsencode(os.uname().nodename if hasattr(os, 'uname') else 'windows')):08x}"
_PARTIAL = re.compile(r"\.pulse-([0-9a-f]{8})-(\d+)-\w+\.partial(?:\.\w+)?")
_STALE = 24 * 3600  # seconds after which nobody can still be writing a file


@contextmanager
def whole_file(path: Path | str) -> Iterator[Path]:
    """Yields a temporary path beside `path`, and renames it to `path` if the block succeeds.

    If the block fails (a full disk, Ctrl-C), the temporary file is removed and an existing `path` is unchanged. If the
    process is killed, `remove_partial_files` finds the temporary file by its name.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    prefix = f".pulse-{_HOST}-{os.getpid()}-"  # not of the file's own name, which may be as long as a name can be
    handle, name = tempfile.mkstemp(prefix=prefix, suffix=f".partial{path.suffix[:20]}", dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)  # mkstemp makes it private
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def is_partial(path: Path) -> bool:
    """Whether the name is one of `whole_file`'s temporary files."""
    return _PARTIAL.fullmatch(path.name) is not None


def remove_partial_files(folders: Iterable[Path]) -> list[Path]:
    """Removes the temporary files that a killed process left in these folders; returns them.

    Those of a process of this machine that is alive stay, and those of other machines for a day.
    """
    removed = []
    for folder in folders:
        for path in sorted(folder.glob(".pulse-*")) if folder.is_dir() else []:
            match = _PARTIAL.fullmatch(path.name)
            if match is None:
                continue
            with suppress(OSError):  # somebody else removed it, or may not be disturbed
                dead = match[1] == _HOST and not _is_alive(int(match[2]))
                if dead or time.time() - path.stat().st_mtime > _STALE:
                    path.unlink()
                    removed.append(path)
    return removed


def _is_alive(pid: int) -> bool:
    if sys.platform == "win32":
        return True  # os.kill would end it
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def read_regular_file(path: Path | str, limit: int) -> bytes:
    """The bytes of a regular file: of no directory, pipe or device, on which reading might never end.

    Raises:
        OSError: it is missing or of another kind, or has more than `limit` bytes.
    """
    # Not to wait for whoever writes into a pipe. Windows has no such flag, but wants to be told of bytes.
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0) | getattr(os, "O_NOCTTY", 0)
    with open(os.open(path, flags), "rb") as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise OSError(f"it is {_kind(status.st_mode)}, not a file")
        if status.st_size > limit:
            raise OSError(f"it has {status.st_size / 1e9:.1f} GB, more than {limit / 1e9:.1f}")
        return file.read(limit)


def _kind(mode: int) -> str:
    kinds = {stat.S_ISDIR: "a directory", stat.S_ISFIFO: "a pipe", stat.S_ISSOCK: "a socket"}
    return next((name for check, name in kinds.items() if check(mode)), "a device")
