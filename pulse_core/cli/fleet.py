"""Distributes inputs over the devices of this machine, or over a Ray cluster, with one worker per device.

Workers write the results themselves, each file atomically, and skip inputs whose results are up to date. So a worker
that dies loses nothing, and a stopped run resumes.
"""

from __future__ import annotations

import argparse
import importlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, NamedTuple

import torch

from ..devices.device import best_device, count, is_out_of_memory, named_device
from ..errors import PulseError, SettingError
from .memory import keep_freed_memory

_RETRIES = 3  # for an input whose worker died
_ROOT = Path(__file__).resolve().parents[2]


class Item(NamedTuple):
    """An input and the path of its result."""

    source: Path
    result: Path


class Done(NamedTuple):
    """What came of an input.

    rows: of the report. lines: to print about the results. notes: what to tell about the file.
    """

    rows: list[dict[str, Any]]
    lines: tuple[str, ...]
    notes: tuple[str, ...] = ()


NOTHING = Done([], ())


class Outcome(NamedTuple):
    """What came of an item, or the error in one line."""

    item: Item
    done: Done
    error: str = ""


Handle = Callable[[Item], Done]
Begin = Callable[[argparse.Namespace], Handle]


def outcome_of(handle: Handle, item: Item) -> Outcome:
    """Handles an item. An unusable input is returned as an error, so that the others continue."""
    try:
        return Outcome(item, handle(item))
    except PulseError as error:
        return Outcome(item, NOTHING, " ".join(str(error).split()))
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        return Outcome(item, NOTHING, "The memory does not suffice for it. What to do: downscale it, or free memory.")


def add_fleet(parser: argparse.ArgumentParser) -> None:
    """--devices and --ray."""
    parser.add_argument(
        "--devices",
        type=lambda text: text.split(","),
        metavar="A,B,...",
        help="devices that share the inputs, one worker each; default: all GPUs of the machine",
    )
    parser.add_argument(
        "--ray",
        nargs="?",
        const="local",
        metavar="ADDRESS",
        help="share the inputs over a Ray cluster, one worker per GPU; without ADDRESS it starts a local one (needs "
        "`pip install ray`; all machines must see the same folders)",
    )


def devices_of(args: argparse.Namespace) -> list[str]:
    """The devices that share the inputs; none if this process does all.

    Raises:
        SettingError: this machine has no such device. With --ray other machines may have it.
    """
    if args.devices:
        return list(args.devices) if args.ray is not None else [str(named_device(name)) for name in args.devices]
    best = best_device().type
    if args.device is not None or count(best) < 2:
        return []
    return [f"{best}:{index}" for index in range(count(best))]


def is_fleet(args: argparse.Namespace) -> bool:
    """Whether the inputs go to workers."""
    return args.ray is not None or bool(devices_of(args))


def outcomes(begin: Begin, args: argparse.Namespace, items: Sequence[Item]) -> Iterator[Outcome]:
    """The outcomes of all items, as they finish.

    Args:
        begin: makes the function that handles an item, in each worker; a module-level function, as workers import it.

    Raises:
        SettingError: Ray is not installed or not reachable, or a worker of this machine died.
    """
    plain = argparse.Namespace(**{name: value for name, value in vars(args).items() if name != "run"})
    if args.ray is not None:
        yield from _on_ray(begin, plain, items)
    else:
        yield from _in_processes(begin, plain, items)


class Worker:
    """Handles one item after another on one device.

    Args:
        device: None: the best one that the worker sees.
        threads: CPU threads; None: unchanged.
    """

    def __init__(self, begin: Begin, args: argparse.Namespace, device: str | None, threads: int | None):
        keep_freed_memory()
        if threads is not None:
            torch.set_num_threads(threads)
        self._handle = begin(argparse.Namespace(**{**vars(args), "device": device}))

    def work(self, item: Item) -> Outcome:
        """See `outcome_of`."""
        return outcome_of(self._handle, item)


_worker: Worker  # of this process, where it is one of _in_processes


def _start(devices: Any, stop: Connection, begin: Begin, args: argparse.Namespace, threads: int) -> None:
    global _worker
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to all; the parent decides
    threading.Thread(target=_end_with_parent, args=(stop,), daemon=True).start()
    _worker = Worker(begin, args, devices.get(), threads)


def _end_with_parent(stop: Connection) -> None:
    """Ends this process at once if the parent has stopped or is dead: its end of the pipe is closed then."""
    wait([stop])
    os._exit(1)


def _work(item: Item) -> Outcome:
    return _worker.work(item)


def _in_processes(begin: Begin, args: argparse.Namespace, items: Sequence[Item]) -> Iterator[Outcome]:
    context, devices = multiprocessing.get_context("spawn"), devices_of(args)
    queue = context.Queue()
    for device in devices:
        queue.put(device)
    share = max(1, torch.get_num_threads() // len(devices))
    stop, ours = context.Pipe(duplex=False)  # nothing is ever sent
    pool = ProcessPoolExecutor(len(devices), context, _start, (queue, stop, begin, args, share))
    try:
        for done in as_completed([pool.submit(_work, item) for item in items]):
            yield done.result()
        pool.shutdown()
    except BrokenProcessPool:
        raise SettingError(
            "A worker died, or could not start.",
            "devices with enough memory for the generator and a search.",
            "run the same command again, finished results are kept; the worker's own message is above.",
        ) from None
    finally:
        ours.close()  # ends the workers, also in the middle of a search
        pool.shutdown(cancel_futures=True)


def _on_ray(begin: Begin, args: argparse.Namespace, items: Sequence[Item]) -> Iterator[Outcome]:
    """On a Ray cluster, which restarts dead actors and retries their items."""
    try:
        ray: Any = importlib.import_module("ray")
        pools: Any = importlib.import_module("ray.util.actor_pool")
    except ImportError:
        raise SettingError("Ray is not installed.", "`--ray` with Ray.", "run `pip install ray`.") from None
    local = args.ray == "local"
    environment = {"env_vars": {"PYTHONPATH": str(_ROOT)}}
    try:
        ray.init(None if local else args.ray, runtime_env=environment, include_dashboard=False if local else None)
    except ConnectionError as error:
        raise SettingError(
            f"There is no Ray cluster: {error}", "the address of one.", "leave the address out, or start one."
        ) from None
    try:
        has = ray.cluster_resources()
        gpus = int(has.get("GPU", 0))
        count = len(args.devices) if args.devices else gpus or sum(node["Alive"] for node in ray.nodes())
        devices = [None] * count if gpus or not args.devices else args.devices  # each worker sees its own GPU alone
        cores = max(1, int(has.get("CPU", 1)) // len(devices))
        options = {"num_cpus": cores, "num_gpus": 1 if gpus else 0}
        actor = ray.remote(max_restarts=-1, max_task_retries=_RETRIES, **options)(Worker)
        pool = pools.ActorPool([actor.remote(begin, args, device, cores) for device in devices])
        yield from pool.map_unordered(lambda worker, item: worker.work.remote(item), items)
    finally:
        ray.shutdown()
