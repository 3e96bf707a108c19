"""`photo`: photographs in, the same photographs with restored faces out."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from ..degradations import Degradation
from ..errors import PulseError
from ..faces.face import Face, Faces
from ..faces.finding import FindSettings
from ..faces.pasting import PasteSettings
from ..generators import Generator
from ..latent_search.config import SearchConfig
from ..latent_search.solution import Solution, StepState
from ..latents.gaussian import LatentGaussian
from ..photographs import FaceStore, restore
from ..pictures.images import NOTICE, colour_profile, read_image, read_metadata, save_image
from ..pictures.sheets import side_by_side
from ..pipeline import Target, load_with_fit
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
from .progress import FaceBar, Stopwatch
from .results import digest, fingerprint, result_metadata, results_of, verdict, write_report

NAME = "photo"
HELP = "restore the faces in photographs"
_NO_FACE = ("error", "pass")


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the options."""
    parser.description = (
        "Finds the faces in photographs, searches for a face that downscales to each, and pastes it back. A second run "
        "does only what is missing: a face is searched for again only if the photograph or the settings changed."
    )
    parser.add_argument("inputs", nargs="+", type=Path, metavar="IN", help="photographs, folders of them, or globs")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="DIR", help="folder for the results")
    parser.add_argument("--faces", type=_count, default="all", metavar="all|largest|N", help="faces of a photograph")
    add_lr_size(parser, "a face")
    parser.add_argument(
        "--no-face", choices=_NO_FACE, default="error", help="a photograph without a face: report an error, or copy it"
    )
    parser.add_argument("--side-by-side", action="store_true", help="also write each photograph beside its result")
    parser.add_argument("--report", type=Path, metavar="FILE", help="write a JSON report, one object per face")
    add_settings(parser, "faces", FindSettings, without=("max_faces",))
    add_settings(parser, "pasting", PasteSettings)
    add_generator(parser)
    add_gaussian(parser)
    add_class(parser)
    add_seed(parser, "the same seed gives the same faces; of several solutions the best is pasted")
    add_search(parser)
    add_fleet(parser)


def _count(text: str) -> int:
    """The text all, largest or a number -> FindSettings.max_faces."""
    return word_or_number(text, {"all": 0, "largest": 1})


def run(args: argparse.Namespace) -> int:
    """Restores the photographs. One that is not usable is reported and skipped; the status is then 2."""
    photographs = find_pictures(args.inputs)
    items = [Item(*pair) for pair in zip(photographs, results_of(photographs, args.output), strict=True)]
    rows: list[dict[str, Any]] = []
    failed = 0
    try:
        with FaceBar(len(photographs)) as bar:
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
    """Makes a worker's function that restores one photograph."""
    work = _Work.of(args)

    def handle(item: Item) -> list[dict[str, Any]]:
        with FaceBar(1, quiet=True) as bar:
            return work.photograph(item.source, item.result, bar)

    return handle


def _here(args: argparse.Namespace, items: list[Item], bar: FaceBar) -> Iterator[Outcome]:
    """Restores the photographs in this process."""
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
    """What all photographs have in common."""

    generator: Generator
    gaussian: LatentGaussian
    config: SearchConfig
    degradation: Degradation | None
    finding: FindSettings
    pasting: PasteSettings
    args: argparse.Namespace

    @classmethod
    def of(cls, args: argparse.Namespace) -> _Work:
        config, pasting = search_config(args), parsed(args, PasteSettings)
        finding = parsed(args, FindSettings, max_faces=args.faces)
        degradation = search_degradation(args)  # an unusable text fails before any work
        given = LatentGaussian.load(args.gaussian) if args.gaussian is not None else None
        generator, gaussian = load_with_fit(
            args.generator, given, args.mapping, class_index=args.class_index, device=args.device
        )
        return cls(generator, gaussian, config, degradation, finding, pasting, args)

    def photograph(self, path: Path, result: Path, bar: FaceBar) -> list[dict[str, Any]]:
        """Writes the result unless it is up to date; returns a row of the report for each face."""
        args = self.args
        searched = digest(
            fingerprint(path, self.generator, self.gaussian), asdict(self.config), args.degradation, args.seed
        )
        recipe = digest(searched, asdict(self.finding), asdict(self.pasting), args.lr_size, args.side_by_side)
        known = read_metadata(result)
        if known is not None and known.get("recipe") == recipe:
            bar.say(f"{result}: up to date")
            return self._rows(path, result, known["faces"])
        picture, files = read_image(path), _FaceFiles(self, result, searched, bar)

        def on_faces(faces: Faces, too_small: tuple[Face, ...]) -> None:
            for face in too_small:
                bar.say(f"{path}: a face of {face.side:.0f} pixels is too small; --lr-size restores it nevertheless")
            bar.open(path.name, len(faces))

        restored = restore(
            picture,
            self.generator,
            self.gaussian,
            self.config,
            finding=self.finding,
            pasting=self.pasting,
            lr_size=args.lr_size,
            seed=args.seed,
            degradation=self.degradation,
            require_face=args.no_face == "error",
            store=files,
            on_faces=on_faces,
            on_step=files.step,
        )
        if args.side_by_side:
            panels = {"photograph": picture, "with invented faces": restored.picture}
            save_image(side_by_side(panels), result.with_stem(f"{result.stem}_side_by_side"))
        metadata = [files.metadata[number] for number in range(len(restored.faces))]
        save_image(restored.picture, result, {"recipe": recipe, "faces": metadata}, profile=colour_profile(path))
        bar.say(f"{result}: {_faces(len(metadata))}")
        return self._rows(path, result, metadata)

    @staticmethod
    def _rows(path: Path, result: Path, faces: list[dict[str, Any]]) -> list[dict[str, Any]]:
        files = {"input": str(path), "output": str(result)}
        return [{**files, "face": number, **row} for number, row in enumerate(faces, 1)]


class _FaceFiles(FaceStore):
    """Keeps the restored faces of one photograph as PNG files, where the next run finds those that are up to date.

    Args:
        result: the photograph's result; the faces go into a folder beside it.
        searched: a hash of all that a face's result depends on, except the face.
    """

    def __init__(self, work: _Work, result: Path, searched: str, bar: FaceBar):
        super().__init__()
        self.metadata: dict[int, dict[str, Any]] = {}
        self._work, self._result, self._searched, self._bar = work, result, searched, bar
        self._watch = Stopwatch(work.config.solutions)

    def has(self, number: int, target: Target) -> bool:
        """See FaceStore."""
        known = read_metadata(self._file(number))
        if known is None or known.get("recipe") != self._recipe(target):
            self._watch.restart()
            return False
        self._bar.skip()
        self._add(number, target, known)
        return True

    def put(self, number: int, target: Target, solution: Solution) -> None:
        """See FaceStore."""
        work, file, face = self._work, self._file(number), target.face
        assert face is not None
        metadata = {
            "recipe": self._recipe(target),
            "file": f"faces/{file.name}",
            "score": round(face.score, 4),
            "side": round(face.side, 1),
            "landmarks": [[round(value, 2) for value in point] for point in face.landmarks.tolist()],
            "quad": [[round(value, 2) for value in point] for point in face.quad.tolist()],
            **result_metadata(target, solution, work.config, work.generator, self._watch.lap()),
        }
        save_image(solution.image, file, metadata)
        self._add(number, target, metadata)

    def image(self, number: int) -> Tensor:
        """See FaceStore."""
        return read_image(self._file(number))

    def step(self, state: StepState) -> None:
        """An `on_step` callback."""
        self._watch.step(state)
        self._bar.step(state)

    def _file(self, number: int) -> Path:
        return self._result.parent / "faces" / f"{self._result.stem}-{number + 1}.png"

    def _recipe(self, target: Target) -> str:
        face = target.face
        assert face is not None
        return digest(
            self._searched, face.landmarks.tolist(), target.lr_size, target.estimate and asdict(target.estimate)
        )

    def _add(self, number: int, target: Target, metadata: dict[str, Any]) -> None:
        self.metadata[number] = metadata
        estimate = f"{target.estimate.summary}, " if target.estimate is not None else ""
        size = f"{target.input_size:.0f} px, {estimate}matched at {target.lr_size}"
        self._bar.say(f"{self._file(number)}: {size}, {verdict(metadata)}")
