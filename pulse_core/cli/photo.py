"""`photo`: photographs in, the same photographs with restored faces out."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor
from tqdm import tqdm

from ..degradations import Degradation
from ..errors import PulseError
from ..faces.face import Face, Faces
from ..faces.finding import FindSettings, find_faces, no_face_error
from ..faces.pasting import PasteSettings, Patch, paste
from ..faces.sizes import MIN_FACE_SIDE, match_colour_mode
from ..generators import Generator
from ..latent_search.config import SearchConfig
from ..latent_search.loop import search
from ..latent_search.solution import StepState
from ..latents.gaussian import LatentGaussian
from ..photographs import face_targets
from ..pictures.images import NOTICE, colour_profile, read_image, read_metadata, save_image
from ..pictures.sheets import side_by_side
from ..pipeline import load_with_fit
from .fleet import Handle, Item, Outcome, add_fleet, is_fleet, outcomes
from .inputs import find_pictures
from .options import (
    add_class,
    add_gaussian,
    add_generator,
    add_lr_size,
    add_search,
    add_seed,
    add_settings,
    parsed,
    search_config,
    search_degradation,
    word_or_number,
)
from .results import digest, fingerprint, results_of, search_metadata, verdict, write_report

NAME = "photo"
HELP = "restore the faces in photographs"
_NO_FACE = ("error", "pass")


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the options."""
    parser.description = (
        "Finds the faces in photographs, invents one that fits for each, and puts it back. Started again, it does "
        "only what is missing: a restored face is searched for anew only if its settings changed."
    )
    parser.add_argument("inputs", nargs="+", type=Path, metavar="IN", help="photographs, folders of them, or globs")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="DIR", help="where the results go")
    parser.add_argument("--faces", type=_count, default="all", metavar="all|largest|N", help="which of a photograph")
    add_lr_size(parser, "a face")
    parser.add_argument("--no-face", choices=_NO_FACE, default="error", help="if there is none: an error, or a copy")
    parser.add_argument(
        "--side-by-side", action="store_true", help="also write the photograph before and after in a row"
    )
    parser.add_argument("--report", type=Path, metavar="FILE", help="write a JSON report, one object a face")
    add_settings(parser, "faces", FindSettings, without=("max_faces",))
    add_settings(parser, "putting back", PasteSettings)
    add_generator(parser)
    add_gaussian(parser)
    add_class(parser)
    add_seed(parser, "the same seed gives the same faces; of several starts the best is put back")
    add_search(parser)
    add_fleet(parser)


def _count(text: str) -> int:
    """The text all, largest or a number -> FindSettings.max_faces."""
    return word_or_number(text, {"all": 0, "largest": 1})


def run(args: argparse.Namespace) -> int:
    """Works through the photographs; one that cannot be used is told and left out. 2 if there were such."""
    photographs = find_pictures(args.inputs)
    items = [Item(*pair) for pair in zip(photographs, results_of(photographs, args.output), strict=True)]
    rows: list[dict[str, Any]] = []
    failed = 0
    try:
        with _Bar(len(photographs)) as bar:
            for outcome in outcomes(begin, args, items) if is_fleet(args) else _here(args, items, bar):
                rows += outcome.rows
                failed += bool(outcome.error)
                if outcome.error:
                    bar.say(f"{outcome.item.source}: {outcome.error}", file=sys.stderr)
                elif is_fleet(args):
                    bar.say(f"{outcome.item.result}: {_faces(len(outcome.rows))}")
    finally:
        write_report(args.report, "faces", rows)
    print(NOTICE)
    return 2 if failed else 0


def begin(args: argparse.Namespace) -> Handle:
    """What a worker does with each photograph."""
    work = _Work.of(args)

    def handle(item: Item) -> list[dict[str, Any]]:
        with _Bar(1, quiet=True) as bar:
            return work.photograph(item.source, item.result, bar)

    return handle


def _here(args: argparse.Namespace, items: list[Item], bar: _Bar) -> Iterator[Outcome]:
    """In this process."""
    work = _Work.of(args)
    for item in items:
        try:
            yield Outcome(item, work.photograph(item.source, item.result, bar), "")
        except PulseError as error:
            yield Outcome(item, [], str(error))


def _faces(count: int) -> str:
    return f"{count} {'face' if count == 1 else 'faces'}"


@dataclass(frozen=True)
class _Work:
    """What is done to every photograph, and what of it is there already."""

    generator: Generator
    gaussian: LatentGaussian
    config: SearchConfig
    degradation: str | None
    through: Degradation | None
    finding: FindSettings
    pasting: PasteSettings
    lr_size: int
    seed: int
    pass_without_face: bool
    side_by_side: bool

    @classmethod
    def of(cls, args: argparse.Namespace) -> _Work:
        config, pasting = search_config(args), parsed(args, PasteSettings)
        finding = parsed(args, FindSettings, max_faces=args.faces)
        given = LatentGaussian.load(args.gaussian) if args.gaussian is not None else None
        generator, gaussian = load_with_fit(
            args.generator, given, args.mapping, class_index=args.class_index, device=args.device
        )
        passing = args.no_face == "pass"
        through = search_degradation(args)  # what is wrong with it is told before any work
        choices = (args.lr_size, args.seed, passing, args.side_by_side)
        return cls(generator, gaussian, config, args.degradation, through, finding, pasting, *choices)

    def photograph(self, path: Path, result: Path, bar: _Bar) -> list[dict[str, Any]]:
        """Writes the result unless it is there; returns a row of the report for each face."""
        searched = self._searched(path)
        recipe = digest(searched, asdict(self.finding), asdict(self.pasting), self.lr_size, self.side_by_side)
        known = read_metadata(result)
        if known is not None and known.get("recipe") == recipe:
            bar.say(f"{result}: there already")
            return self._rows(path, result, known["faces"])
        picture = read_image(path)
        faces = self._large_enough(find_faces([picture], self.finding), path, bar)
        if not faces and not self.pass_without_face:
            raise no_face_error(self.finding, picture.shape[-2:])
        bar.expect(path.name, len(faces))
        restored: list[tuple[Face, Path]] = []
        metadata: list[dict[str, Any]] = []
        targets = face_targets(picture, faces, self.generator, self.lr_size, self.through)
        for number, (face, (target, through)) in enumerate(zip(faces, targets, strict=True), 1):
            file = result.parent / "faces" / f"{result.stem}-{number}.png"
            metadata.append(self._face(face, target, through, file, searched, bar))
            restored.append((face, file))
            estimate = f"{face.estimate.summary}, " if face.estimate is not None else ""
            bar.say(f"{file}: {face.side:.0f} px, {estimate}matched at {target.shape[-1]}, {verdict(metadata[-1])}")
        smallest_first = (Patch(face, read_image(file)) for face, file in reversed(restored))
        pasted = paste(picture, faces.sources[0], smallest_first, self.pasting, faces)
        if self.side_by_side:
            panels = {"photograph": picture, "with invented faces": pasted.picture}
            save_image(side_by_side(panels), result.with_stem(f"{result.stem}_side_by_side"))
        save_image(pasted.picture, result, {"recipe": recipe, "faces": metadata}, profile=colour_profile(path))
        bar.say(f"{result}: {_faces(len(faces))}")
        return self._rows(path, result, metadata)

    def _large_enough(self, faces: Faces, path: Path, bar: _Bar) -> Faces:
        """Without those of which nothing can be said, unless a size is asked for."""
        kept = []
        for face in faces:
            if self.lr_size or face.side >= MIN_FACE_SIDE:
                kept.append(face)
            else:
                bar.say(f"{path}: a face of {face.side:.0f} pixels is left as it is, --lr-size searches for it")
        return replace(faces, faces=tuple(kept))

    def _searched(self, path: Path) -> str:
        """What the result of a search depends on, but for the face."""
        begins = fingerprint(path, self.generator, self.gaussian)
        return digest(begins, asdict(self.config), self.degradation, self.seed)

    def _face(
        self, face: Face, target: Tensor, through: Degradation | None, file: Path, searched: str, bar: _Bar
    ) -> dict[str, Any]:
        """The metadata of a restored face, which lies in `file`, now or already."""
        recipe = digest(searched, face.landmarks.tolist(), target.shape[-1], face.estimate and asdict(face.estimate))
        known = read_metadata(file)
        if known is not None and known.get("recipe") == recipe:
            bar.done()
            return known
        started = time.perf_counter()
        found, *_ = search(  # the best comes first
            self.generator,
            target,
            self.gaussian,
            self.config,
            seed=self.seed,
            degradation=through,
            on_step=bar.step,
        )
        metadata = {
            "recipe": recipe,
            "file": f"faces/{file.name}",
            "score": round(face.score, 4),
            "side": round(face.side, 1),
            "lr_size": target.shape[-1],
            "estimate": None if face.estimate is None else asdict(face.estimate),
            "landmarks": [[round(value, 2) for value in point] for point in face.landmarks.tolist()],
            "quad": [[round(value, 2) for value in point] for point in face.quad.tolist()],
            **search_metadata(found, self.config, self.generator, time.perf_counter() - started, self.degradation),
        }
        save_image(match_colour_mode(found.image, face), file, metadata)
        bar.done()
        return metadata

    @staticmethod
    def _rows(path: Path, result: Path, faces: list[dict[str, Any]]) -> list[dict[str, Any]]:
        files = {"input": str(path), "output": str(result)}
        return [{**files, "face": number, **row} for number, row in enumerate(faces, 1)]


class _Bar:
    """A progress bar over faces; how many there are is known as photographs are opened."""

    def __init__(self, photographs: int, *, quiet: bool = False):
        self._photographs, self._opened, self._finished, self._quiet = photographs, 0, 0, quiet
        form = "{desc}: {percentage:3.0f}%|{bar}| {n:.1f}/{total} faces [{elapsed}{postfix}]"
        self._bar = tqdm(total=0, file=sys.stderr, dynamic_ncols=True, bar_format=form, disable=quiet)

    def __enter__(self) -> _Bar:
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def say(self, text: str, file: Any = None) -> None:
        """A line above the bar."""
        if not self._quiet:
            tqdm.write(text, file=file or sys.stdout)

    def expect(self, name: str, faces: int) -> None:
        """A photograph with so many faces begins."""
        self._opened += 1
        self._bar.total += faces
        self._bar.set_description_str(f"{name} ({self._opened} of {self._photographs})")

    def step(self, state: StepState) -> None:
        """For the steps of a search."""
        made, total = state.progress
        self._bar.n = self._finished + made / total
        if state.is_full:
            _, l2, best = state.means
            self._bar.set_postfix_str(f"L2 {l2:.4f}, best {best:.4f}", refresh=False)
        self._bar.update(0)

    def done(self) -> None:
        """A face is restored."""
        self._finished += 1
        self._bar.n = self._finished
        self._bar.refresh()
