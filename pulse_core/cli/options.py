"""Options that several commands share."""

from __future__ import annotations

import argparse
from collections.abc import Container
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, TypeVar

import torch

from ..degradations import Degradation, forms, parse_degradation
from ..devices.device import best_device, named_device
from ..faces.sizes import AUTO
from ..latent_search.config import PRESETS, SearchConfig
from ..latents.spaces import SEEDS
from ..loading.catalogue import DEFAULT_GENERATOR
from ..settings import Settings, options

S = TypeVar("S", bound=Settings)


def add_generator(parser: argparse.ArgumentParser) -> None:
    """--generator, --mapping and --device."""
    parser.add_argument(
        "--generator",
        default=DEFAULT_GENERATOR,
        metavar="NAME|FILE",
        help="a name from the catalogue, or a checkpoint file",
    )
    add_loading(parser)


def add_loading(parser: argparse.ArgumentParser) -> None:
    """--mapping and --device."""
    add_mapping(parser)
    parser.add_argument("--device", metavar="DEVICE", help="cpu, cuda, cuda:1, xpu or mps; default: the best there is")


def chosen_device(args: argparse.Namespace) -> torch.device:
    """The device of --device, or the best there is.

    Raises:
        SettingError: no such device.
    """
    return best_device() if args.device is None else named_device(args.device)


def add_mapping(parser: argparse.ArgumentParser) -> None:
    """--mapping."""
    parser.add_argument(
        "--mapping", type=Path, metavar="FILE", help="the file of the mapping network, if it is a separate one"
    )


def add_class(parser: argparse.ArgumentParser) -> None:
    """--class, as `class_index`."""
    parser.add_argument(
        "--class",
        dest="class_index",
        type=int,
        metavar="N",
        help="class of a conditional generator, from 0; default: all classes",
    )


def add_gaussian(parser: argparse.ArgumentParser) -> None:
    """--gaussian."""
    parser.add_argument(
        "--gaussian",
        type=Path,
        metavar="FILE",
        help="a latent fit from `fit`, or PULSE's gaussian_fit.pt",
    )


def add_lr_size(parser: argparse.ArgumentParser, what: str, but: str = "") -> None:
    """--lr-size.

    Args:
        what: the kind of input, as in "a face". but: an exception of auto.
    """
    parser.add_argument(
        "--lr-size",
        type=lambda text: word_or_number(text, {"auto": AUTO}),
        default=AUTO,
        metavar="auto|N",
        help=f"width in pixels at which {what} is matched; auto: its estimated effective size, below its own if it is "
        f"enlarged, blurred or noisy{but}",
    )


def word_or_number(text: str, words: dict[str, int]) -> int:
    """An argparse type: one of the words, or a number from 1 up."""
    if text in words:
        return words[text]
    if text.isdecimal() and int(text) > 0:
        return int(text)
    raise argparse.ArgumentTypeError(f"{text!r} is neither {' nor '.join(words)} nor a number from 1 up")


def add_search(parser: argparse.ArgumentParser) -> None:
    """--preset, --degradation, and one option for each setting of a search."""
    parser.add_argument(
        "--preset",
        choices=tuple(PRESETS),
        default="recommended",
        help="search settings, which the options below override",
    )
    parser.add_argument(
        "--degradation",
        metavar="TEXT",
        help="what happened to the picture besides downscaling, in this order, in pixels of the picture, joined by +: "
        f"{forms()}",
    )
    add_settings(parser, "search", SearchConfig, preset=True)


def add_settings(
    parser: argparse.ArgumentParser,
    title: str,
    kind: type[Settings],
    without: Container[str] = (),
    *,
    preset: bool = False,
) -> None:
    """Adds an option for each setting, with its description and unit.

    Args:
        preset: leaves out what is not given, as the defaults come from a preset.
    """
    group = parser.add_argument_group(title)
    for each in options(kind):
        if each.name in without:
            continue
        flag, text = "--" + each.name.replace("_", "-"), each.help + (f" ({each.unit})" if each.unit else "")
        default: Any = argparse.SUPPRESS if preset else each.default
        if each.kind is tuple:
            group.add_argument(flag, type=int, nargs="*", default=default, metavar="N", help=text)
        else:
            metavar = None if each.choices else {int: "N", float: "X"}.get(each.kind, "TEXT")
            group.add_argument(flag, type=each.kind, default=default, choices=each.choices, metavar=metavar, help=text)


def search_config(args: argparse.Namespace) -> SearchConfig:
    """The preset with the settings that were given."""
    given = {item.name: getattr(args, item.name) for item in fields(SearchConfig) if hasattr(args, item.name)}
    return replace(PRESETS[args.preset], **_frozen(given))


def search_degradation(args: argparse.Namespace) -> Degradation | None:
    """The degradation of --degradation."""
    return None if args.degradation is None else parse_degradation(args.degradation)


def parsed(args: argparse.Namespace, kind: type[S], **others: Any) -> S:
    """The settings that `add_settings` added, and those that it left out."""
    given = {item.name: getattr(args, item.name) for item in fields(kind) if item.name not in others}
    return kind(**_frozen(given), **others)


def _frozen(given: dict[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in given.items()}


def add_seed(parser: argparse.ArgumentParser, help: str) -> None:
    """--seed, 0..2^64-1."""
    parser.add_argument("--seed", type=_seed, default=0, metavar="N", help=help)


def _seed(text: str) -> int:
    value = int(text)
    if not 0 <= value < SEEDS:
        raise argparse.ArgumentTypeError(f"{value} is not a seed from 0 to 2^64 - 1")
    return value
