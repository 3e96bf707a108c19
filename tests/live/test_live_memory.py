"""What stays in the server's memory: nothing after /free, and no more after many searches than after a few.

PULSE_LIVE_SEARCHES=200 makes them many.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from graphs import TINY, complete, searched
from live_host import default_generator

FEW = 3
SEARCHES = int(os.environ.get("PULSE_LIVE_SEARCHES", "30"))
WARM_UP = 10
MIB = 1 << 20
# What the allocator takes in pieces, and what the host keeps of each run: its history, some 15 KB.
GROWS_BY_AT_MOST = 2 * MIB + SEARCHES * 30_000

pytestmark = pytest.mark.skipif(not Path("/proc/self/statm").is_file(), reason="memory is read from /proc")


def search(file, seed=0):
    """A search of which nothing is saved."""
    return searched(file, steps=FEW, seed=seed) | {"show": ("PreviewImage", {"images": ["search", 0]})}


@pytest.fixture
def run(client, known):
    """run(graph) -> which nodes were cached."""

    def run_(graph):
        done = client.run(complete(graph, known), timeout=300)
        assert (done.end, done.error) == ("execution_success", "")
        return done.cached

    return run_


def own_memory(pid: int) -> int:
    """Resident bytes, without what lies in files: libraries are read in whenever they are first needed."""
    _, resident, shared, *_ = map(int, Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split())
    return (resident - shared) * os.sysconf("SC_PAGE_SIZE")


def free(client) -> dict:
    """Asks until no generator is left, for at most a minute: the server misses what is asked while it tidies up."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        client.post("/free", {"unload_models": True, "free_memory": True})
        time.sleep(1)
        alive = client.get_json("/live_probe")
        if not alive["generators"]:
            break
    return alive


@pytest.mark.parametrize("file", [TINY, pytest.param(default_generator().name, marks=pytest.mark.weights)])
def test_free_lets_go_of_the_generator_and_the_next_run_loads_it_again(file, run, client, server):
    if file != TINY and not server.has_default_generator:
        pytest.skip("the default generator was not fetched")
    graph = search(file)
    run(graph)
    assert run(graph) == set(graph)
    assert client.get_json("/live_probe")["generators"] > 0
    assert free(client)["generators"] == 0
    assert run(graph) == set()
    assert client.get_json("/live_probe", collect="1")["generators"] == 1


def test_memory_stays_flat_over_many_searches(run, client, server):
    for seed in range(WARM_UP):
        run(search(TINY, seed))
    alive, before = client.get_json("/live_probe", collect="1"), own_memory(server.pid)
    for seed in range(WARM_UP, WARM_UP + SEARCHES):
        run(search(TINY, seed))
    assert client.get_json("/live_probe", collect="1") == alive
    grown = own_memory(server.pid) - before
    print(f"{before / MIB:.1f} MiB, and {grown / MIB:+.1f} MiB after {SEARCHES} more searches")
    assert grown <= GROWS_BY_AT_MOST
