"""Downloads of files: resumed after a break, verified, and whole or not at all."""

from __future__ import annotations

import errno
import hashlib
import http.client
import json
import shutil
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from ..errors import CheckpointError

MAX_BYTES = 4 << 30  # of a file of unknown size
TRIES, WAIT = 4, 1.0  # connections per call, and seconds between them
TIMEOUT = 30.0  # seconds without data
_BLOCK = 1 << 20
_MAX_REDIRECTS = 5
_BROKEN = (OSError, http.client.HTTPException)  # urllib's own errors are OSErrors
_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES)  # errors of writing
_PAGES = (b"<!doctype", b"<html", b"<?xml", b"<head")


@dataclass(frozen=True)
class Wanted:
    """What to download. size, sha256: None if unknown."""

    address: str
    target: Path
    size: int | None = None
    sha256: str | None = None


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows a few redirects, and none to another scheme."""

    max_redirections = _MAX_REDIRECTS

    def redirect_request(
        self, req: urllib.request.Request, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        old, new = (urllib.parse.urlsplit(url).scheme for url in (req.full_url, newurl))
        if old != new:
            _refuse(req.full_url, f"redirects from {old} to {new}", "a redirect that keeps the scheme")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def size_at(address: str) -> int | None:
    """The size of a file in bytes, as the server says; None if it does not, or cannot be reached."""
    try:
        with _open(urllib.request.Request(address, method="HEAD")) as answer:  # noqa: S310 - the opener knows http(s) only
            return int(answer.headers["Content-Length"])
    except (*_BROKEN, TypeError, ValueError):
        return None


def download(wanted: Wanted, say: Callable[[str], None] = print) -> str:
    """Downloads a file; returns its SHA-256.

    After a break, what has arrived is kept next to the target, and the next call continues from there.

    Raises:
        CheckpointError: the server cannot be reached, sends a web page, more or less than it says, or another file.
        OSError: the disk is full or cannot be written.
    """
    part, note = (wanted.target.with_name(f"{wanted.target.name}.{end}") for end in ("part", "part.json"))
    part.parent.mkdir(parents=True, exist_ok=True)
    reason = ""
    for attempt in range(TRIES):
        if attempt:
            time.sleep(WAIT * attempt)
            say(f"  {reason}; trying again from {_size(part) / 1e6:.1f} MB")
        try:
            if _receive(wanted, part, note):
                break
            reason = "the connection ended early"
        except urllib.error.HTTPError as error:
            reason = f"the server answered {error.code} {error.reason}"
            if error.code == http.client.REQUESTED_RANGE_NOT_SATISFIABLE:
                _forget(part, note)
            elif error.code < http.client.INTERNAL_SERVER_ERROR:
                _refuse(wanted.address, f"answers {error.code} {error.reason}", "an address that serves the file")
        except _BROKEN as error:
            if isinstance(error, OSError) and error.errno in _DISK:
                raise
            reason = str(error) or type(error).__name__
    else:
        raise CheckpointError(
            f"{wanted.address} could not be downloaded whole: {reason[:200]}.",
            "a connection that lasts.",
            f"run the command again: it goes on from {_size(part):,} bytes.",
        )
    found = _sha256(part)
    if wanted.sha256 is not None and found != wanted.sha256:
        _forget(part, note)
        raise CheckpointError(
            f"The file from {wanted.address} has the SHA-256 {found}.",
            f"{wanted.sha256}.",
            "download it again; if it stays different, it is not the file that this pack knows.",
        )
    part.replace(wanted.target)
    note.unlink(missing_ok=True)
    return found


def _receive(wanted: Wanted, part: Path, note: Path) -> bool:
    """One connection, which appends the missing rest to the part. False if it ended early."""
    have, known = _size(part), _read_note(note, wanted.address)
    headers = {"Accept-Encoding": "identity", "User-Agent": "pulse-core"}
    if have and known is not None:
        headers |= {"Range": f"bytes={have}-", "If-Range": known}
    with _open(urllib.request.Request(wanted.address, headers=headers)) as answer:  # noqa: S310 - as above
        is_rest = answer.status == http.client.PARTIAL_CONTENT
        if is_rest and not str(answer.headers.get("Content-Range", "")).startswith(f"bytes {have}-"):
            _forget(part, note)
            return False
        have = have if is_rest else 0
        length = answer.headers.get("Content-Length", "")
        total = have + int(length) if length.isdecimal() else None
        _check_kind(wanted, answer.headers.get("Content-Type", ""))
        _check_size(wanted, part, total)
        _write_note(note, wanted.address, answer.headers.get("ETag") or answer.headers.get("Last-Modified"))
        limit = wanted.size if wanted.size is not None else (total if total is not None else MAX_BYTES)
        with part.open("ab" if is_rest else "wb") as file:
            while block := answer.read(_BLOCK):
                if not have and block.lstrip()[:9].lower().startswith(_PAGES):
                    file.close()
                    _forget(part, note)
                    _refuse(wanted.address, "sends a web page and not a file", "the address of the file itself")
                have += len(block)
                if have > limit:
                    file.close()
                    _forget(part, note)
                    _refuse(wanted.address, f"sends more than the {limit:,} bytes of the file", "the file and no more")
                file.write(block)
    complete = wanted.size if wanted.size is not None else total
    return complete is None or have == complete


def _open(request: urllib.request.Request) -> Any:
    """Opens an http or https address. There is no handler for other schemes, such as files."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
        _Redirects(),
    ):
        opener.add_handler(handler)
    answer = opener.open(request, timeout=TIMEOUT)
    if answer is None:
        _refuse(request.full_url, "is no http or https address", "a plain address")
    return answer


def _check_kind(wanted: Wanted, kind: str) -> None:
    if kind.partition(";")[0].strip().lower() in ("text/html", "application/xhtml+xml"):
        _refuse(wanted.address, "sends a web page and not a file", "the address of the file itself")


def _check_size(wanted: Wanted, part: Path, total: int | None) -> None:
    if wanted.size is not None and total is not None and total != wanted.size:
        _refuse(wanted.address, f"offers {total:,} bytes", f"{wanted.size:,} bytes, as the catalogue says")
    if total is not None and total > MAX_BYTES:
        _refuse(wanted.address, f"offers {total:,} bytes", f"at most {MAX_BYTES:,}")
    free = shutil.disk_usage(part.parent).free + _size(part)
    if total is not None and total > free:
        raise OSError(errno.ENOSPC, f"{free / 1e6:.0f} MB free, and the file has {total / 1e6:.0f} MB", str(part))


def _refuse(address: str, found: str, accepted: str) -> NoReturn:
    raise CheckpointError(
        f"{address} {found}.",
        f"{accepted}.",
        "open the page of the publisher, which may have moved the file, and give the path of what you download there.",
    )


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _forget(*paths: Path) -> None:
    for path in paths:
        path.unlink(missing_ok=True)


def _read_note(note: Path, address: str) -> str | None:
    """The server's version of the partial file; None if unknown or of another address."""
    try:
        content = json.loads(note.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    is_same = isinstance(content, dict) and content.get("address") == address
    return content["version"] if is_same and isinstance(content.get("version"), str) else None


def _write_note(note: Path, address: str, version: str | None) -> None:
    note.write_text(json.dumps({"address": address, "version": version}), encoding="utf-8")


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()
