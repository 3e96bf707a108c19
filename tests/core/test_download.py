"""Downloads from plain addresses: resumed, verified, and whole or not at all."""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import json
import shutil

import pytest
from server import running, serve, status
from writers import save_nvlabs
from zoo import part

from pulse_core.cli import fetch as command
from pulse_core.errors import CheckpointError
from pulse_core.fetching import download
from pulse_core.fetching.download import Wanted
from pulse_core.fetching.fetch import RECORD, fetch
from pulse_core.loading import catalogue
from pulse_core.loading.load import load_generator

DATA = bytes(range(256)) * 20_000
SUM = hashlib.sha256(DATA).hexdigest()


@pytest.fixture
def site(monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(download, "WAIT", 0.0)
    with running() as site:
        yield site


def got(site, folder, *answers, **wanted):
    """Downloads with these answers; the lines said."""
    site.answers, site.requests = list(answers), []
    lines = []
    target = folder / "x.pkl"
    assert download.download(Wanted(site.address, target, **wanted), lines.append) == SUM
    assert target.read_bytes() == DATA
    assert [path.name for path in folder.iterdir()] == ["x.pkl"]
    target.unlink()
    return lines


def refused(site, folder, expected, *answers, **wanted):
    """Downloads with these answers; what was left in the folder."""
    site.answers, site.requests = list(answers), []
    with pytest.raises(CheckpointError, match=expected):
        download.download(Wanted(site.address, folder / "x.pkl", **wanted), lambda line: None)
    assert not (folder / "x.pkl").exists()
    return sorted(path.name for path in folder.iterdir())


def test_whole_files(site, tmp_path):
    assert got(site, tmp_path, serve(DATA)) == []
    assert got(site, tmp_path, serve(DATA), size=len(DATA), sha256=SUM) == []
    assert got(site, tmp_path, serve(DATA, length=None)) == []


def test_a_broken_download_goes_on_where_it_ended(site, tmp_path):
    lines = got(site, tmp_path, serve(DATA, stop=3_000_000), serve(DATA, stop=1_000_000), serve(DATA))
    assert [request.get("Range") for request in site.requests] == [None, "bytes=3000000-", "bytes=4000000-"]
    assert len(lines) == 2
    assert "trying again from 3.0 MB" in lines[0]


def test_the_next_command_goes_on_where_the_last_one_ended(site, tmp_path):
    left = refused(site, tmp_path, "could not be downloaded whole.*goes on from 40 bytes", serve(DATA, stop=10))
    assert left == ["x.pkl.part", "x.pkl.part.json"]
    got(site, tmp_path, serve(DATA))
    assert site.requests[0]["Range"] == "bytes=40-"


@pytest.mark.parametrize(
    "second",
    [serve(DATA, ranges=False), serve(DATA, etag='"two"'), serve(DATA, etag=None), status(416)],
    ids=["no ranges", "another version", "no version", "416"],
)
def test_a_file_that_cannot_be_resumed_begins_again(site, tmp_path, second):
    got(site, tmp_path, serve(DATA, stop=1000), second, serve(DATA))


def test_a_rest_from_another_place_is_not_appended(site, tmp_path):
    got(site, tmp_path, serve(DATA, stop=1000), serve(DATA, shift=5), serve(DATA))


def test_a_part_of_another_address_is_not_used(site, tmp_path):
    (tmp_path / "x.pkl.part").write_bytes(b"other")
    (tmp_path / "x.pkl.part.json").write_text(json.dumps({"address": "http://elsewhere", "version": '"one"'}))
    got(site, tmp_path, serve(DATA))
    assert "Range" not in site.requests[0]
    (tmp_path / "x.pkl.part").write_bytes(b"other")
    (tmp_path / "x.pkl.part.json").write_text("{")
    got(site, tmp_path, serve(DATA))


def test_a_server_that_lies_about_lengths(site, tmp_path):
    assert refused(site, tmp_path, "could not be downloaded whole", serve(DATA[:100], length=5000)) != []
    shutil.rmtree(tmp_path)
    assert refused(site, tmp_path, "offers 99 bytes", serve(DATA, length=99), size=len(DATA)) == []
    assert refused(site, tmp_path, r"offers 5,000,000,000 bytes", serve(b"", length=5 * 10**9)) == []
    more = serve(DATA + b"more", length=None)
    assert refused(site, tmp_path, "sends more than the 5,120,000 bytes", more, size=len(DATA)) == []


def test_another_file_than_the_checksum_says(site, tmp_path):
    assert refused(site, tmp_path, f"has the SHA-256 .*{SUM}", serve(DATA[::-1]), sha256=SUM) == []


PAGES = {
    "by its type": serve(b"Sign in", kind="text/html; charset=utf-8"),
    "by its begin": serve(b"  <!DOCTYPE html><title>Quota exceeded</title>" + bytes(99)),
    "xml": serve(b"<?xml version='1.0'?><Error>AccessDenied</Error>"),
}


@pytest.mark.parametrize("title", PAGES)
def test_a_web_page_is_not_a_file(site, tmp_path, title):
    left = refused(site, tmp_path, "sends a web page and not a file.*page of the publisher", PAGES[title])
    assert left == []


@pytest.mark.parametrize("code", [401, 403, 404, 410])
def test_refusals_of_the_server_are_not_tried_again(site, tmp_path, code):
    assert refused(site, tmp_path, rf"answers {code} ", status(code)) == []
    assert len(site.requests) == 1


def test_troubles_of_the_server_are_tried_again(site, tmp_path):
    got(site, tmp_path, status(503), status(500), serve(DATA))
    refused(site, tmp_path, "the server answered 503", status(503))
    assert len(site.requests) == download.TRIES


def test_redirects(site, tmp_path):
    got(site, tmp_path, status(302, Location="/elsewhere.pkl"), serve(DATA))
    for other in ("https://127.0.0.1/x", "file:///etc/passwd", "ftp://127.0.0.1/x", "data:,x"):
        assert refused(site, tmp_path, r"redirect|302", status(302, Location=other)) == []
    refused(site, tmp_path, "redirect|30[12]", status(301, Location="/again.pkl"))  # for ever


@pytest.mark.parametrize("address", ["file:///etc/passwd", "ftp://127.0.0.1/x", "data:,x"])
def test_other_schemes_cannot_be_opened(tmp_path, address):
    with pytest.raises(CheckpointError, match="is no http or https address"):
        download.download(Wanted(address, tmp_path / "x"), lambda line: None)


def test_a_server_that_is_not_there(site, tmp_path):
    with running() as gone:
        address = gone.address
    with pytest.raises(CheckpointError, match="could not be downloaded whole"):
        download.download(Wanted(address, tmp_path / "x"), lambda line: None)
    assert download.size_at(address) is None


def test_a_full_disk_is_told_before_it_is_full(site, tmp_path, monkeypatch):
    site.answers = [serve(DATA)]
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10, 9, 1))
    with pytest.raises(OSError, match="0 MB free, and the file has 5 MB"):
        download.download(Wanted(site.address, tmp_path / "x.pkl"), lambda line: None)


# The command


@pytest.fixture
def row(site, tmp_path, monkeypatch):
    """A row of the catalogue whose file the site serves: a small pickled StyleGAN2."""
    source = save_nvlabs(tmp_path / "source.pkl", part("stylegan2_ada", "skip.G."))
    data = source.read_bytes()
    site.answers, site.head_length = [serve(data)], len(data)
    row = catalogue.entry("stylegan3-t-ffhqu-256x256")
    row = dataclasses.replace(row, name="mine", file="mine.pkl", address=site.address, bytes=None, sha256=None)
    monkeypatch.setattr(catalogue, "entry", lambda name: row)
    monkeypatch.setattr(catalogue, "entries", lambda: (row,))
    return row


def run(folder, *options):
    parser = argparse.ArgumentParser()
    command.configure(parser)
    return command.run(parser.parse_args(["mine", "-o", str(folder), *options]))


def test_it_shows_the_licence_and_size_and_asks(row, site, tmp_path, monkeypatch, capsys):
    folder = tmp_path / "weights"
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("builtins.input", lambda question: "no")
    with pytest.raises(CheckpointError, match=r"nobody agreed to its licence.*--yes"):
        run(folder)
    text = capsys.readouterr().out
    assert f"licence: {row.license}" in text
    assert f"size: {site.head_length / 1e6:.1f} MB" in text
    assert site.requests == []
    monkeypatch.setattr("builtins.input", lambda question: "y")
    assert run(folder) == 0
    assert load_generator(folder / "mine.pkl").family == "stylegan2"


def test_a_script_agrees_with_yes(row, site, tmp_path, monkeypatch):
    monkeypatch.setattr("sys.stdin.isatty", lambda: False, raising=False)
    with pytest.raises(CheckpointError, match="nobody agreed"):
        run(tmp_path / "weights")
    assert run(tmp_path / "weights", "--yes") == 0
    assert run(tmp_path / "weights", "--yes") == 0  # is there already
    assert len(site.requests) == 1


def test_the_first_download_is_trusted_recorded_and_held_to(row, site, tmp_path, capsys):
    folder = tmp_path / "weights"
    run(folder, "--yes")
    record = json.loads((folder / RECORD).read_text())
    assert record == {"mine": hashlib.sha256((folder / "mine.pkl").read_bytes()).hexdigest()}
    assert "this first download is trusted and recorded" in capsys.readouterr().out
    (folder / "mine.pkl").unlink()
    run(folder, "--yes")
    assert "as at the first download" in capsys.readouterr().out
    (folder / "mine.pkl").unlink()
    site.answers = [serve(b"\x80\x04another file")]
    with pytest.raises(CheckpointError, match="has the SHA-256"):
        run(folder, "--yes")
    assert [path.name for path in folder.iterdir()] == [RECORD]
    (folder / RECORD).write_text("[]")
    with pytest.raises(CheckpointError, match=r"record of first downloads .* is damaged"):
        run(folder, "--yes")


def test_a_known_checksum_is_verified(row, site, tmp_path, monkeypatch):
    monkeypatch.setattr(catalogue, "entry", lambda name: dataclasses.replace(row, sha256=SUM))
    with pytest.raises(CheckpointError, match=f"has the SHA-256 .*{SUM}"):
        fetch("mine", tmp_path / "weights", say=lambda line: None)
    assert list((tmp_path / "weights").iterdir()) == []


def test_it_is_converted_on_request(row, tmp_path):
    folder = tmp_path / "weights"
    run(folder, "--yes", "--safetensors")
    assert sorted(path.name for path in folder.iterdir()) == [RECORD, "mine.safetensors"]
    assert load_generator(folder / "mine.safetensors").size == (64, 64)
    run(folder, "--yes", "--safetensors")
