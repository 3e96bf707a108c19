"""`photo`: photographs in, the same photographs with restored faces out."""

from __future__ import annotations

import argparse
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from ..degradations import Degradation
from ..faces.face import Face, Faces
from ..faces.finding import FindSettings
from ..faces.pasting import PasteSettings
from ..generators import Generator
from ..latent_search.config import SearchConfig
from ..latent_search.solution import Solution, StepState
from ..latents.gaussian import LatentGaussian
from ..photographs import FaceStore, restore
from ..pictures.images import read_image, read_metadata, to_rgb
from ..pictures.picture import Picture
from ..pictures.reading import PictureFile
from ..pictures.sheets import side_by_side
from ..pipeline import Target, load_with_fit
from .batch import plan, run_batch
from .fleet import Done, Handle, Item, add_fleet, is_fleet
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
from .results import digest, digest_of_degradation, is_current, result_metadata, side_by_side_of, verdict

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
    search_config(args), search_degradation(args)  # unusable settings fail before any work

    def files(result: Path) -> list[Path]:
        # the first face stands for all, as their names differ only in the number
        return [result, _face_file(result, 0), *([side_by_side_of(result)] if args.side_by_side else [])]

    items, refused = plan(args, files)
    with FaceBar(len(items)) as bar:

        def begin_here(given: argparse.Namespace) -> Handle:
            work = _Work.of(given)
            return lambda item: work.photograph(item, bar)

        start = begin if is_fleet(args) else begin_here
        return run_batch(args, start, items, refused, key="faces", say=bar.say)


def begin(args: argparse.Namespace) -> Handle:
    """Makes a worker's function that restores one photograph."""
    work = _Work.of(args)

    def handle(item: Item) -> Done:
        with FaceBar(1, quiet=True) as bar:
            return work.photograph(item, bar)

    return handle


def _face_file(result: Path, number: int) -> Path:
    """The file of a restored face, numbered from 0."""
    return result.parent / "faces" / f"{result.stem}-{number + 1}.png"


def _faces(count: int) -> str:
    return f"{count} {'face' if count == 1 else 'faces'}"


@dataclass(frozen=True)
class _Work:
    """What all photographs have in common.

    recipe: a hash of all that a face depends on, except the photograph and the face.
    """

    generator: Generator
    gaussian: LatentGaussian
    config: SearchConfig
    degradation: Degradation | None
    finding: FindSettings
    pasting: PasteSettings
    recipe: str
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
        recipe = digest(
            asdict(config), gaussian.digest, generator.identity, digest_of_degradation(degradation), args.seed
        )
        return cls(generator, gaussian, config, degradation, finding, pasting, recipe, args)

    def photograph(self, item: Item, bar: FaceBar) -> Done:
        """Writes the result unless it is up to date; returns a row of the report for each face."""
        args, path, result = self.args, item.source, item.result
        source = PictureFile.read(path)
        searched = digest(source.digest, self.recipe)
        recipe = digest(searched, asdict(self.finding), asdict(self.pasting), args.lr_size)
        known = self._known(result, recipe)
        if known is not None:
            return Done(self._rows(path, result, known), (f"{result}: up to date",))
        picture = source.decode()
        files = _FaceFiles(self, picture, result, searched, bar)

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
            panels = {"photograph": to_rgb(picture.native), "with invented faces": to_rgb(restored.picture)}
            picture.save(side_by_side(panels), side_by_side_of(result), {"recipe": recipe})
        metadata = [files.metadata[number] for number in range(len(restored.faces))]
        # last: a result with this recipe is complete
        picture.save(restored.picture, result, {"recipe": recipe, "faces": metadata}, is_whole=True)
        return Done(self._rows(path, result, metadata), (f"{result}: {_faces(len(metadata))}",), picture.notes)

    def _known(self, result: Path, recipe: str) -> list[dict[str, Any]] | None:
        """The metadata of all faces of a result, if it is up to date, whole, and has what belongs beside it."""
        known = read_metadata(result)
        if known is None or known.get("recipe") != recipe or not isinstance(known.get("faces"), list):
            return None
        beside = not self.args.side_by_side or is_current(side_by_side_of(result), recipe)
        faces: list[dict[str, Any]] = known["faces"]
        files = (is_current(_face_file(result, number), face["recipe"]) for number, face in enumerate(faces))
        return faces if beside and all(files) else None

    @staticmethod
    def _rows(path: Path, result: Path, faces: list[dict[str, Any]]) -> list[dict[str, Any]]:
        files = {"input": str(path), "output": str(result)}
        return [{**files, "face": number, **row} for number, row in enumerate(faces, 1)]


class _FaceFiles(FaceStore):
    """Keeps the restored faces of one photograph as PNG files, where the next run finds those that are up to date.

    Args:
        picture: the photograph, in whose colour space the faces are kept.
        result: the photograph's result; the faces go into a folder beside it.
        searched: a hash of all that a face's result depends on, except the face.
    """

    def __init__(self, work: _Work, picture: Picture, result: Path, searched: str, bar: FaceBar):
        super().__init__()
        self.metadata: dict[int, dict[str, Any]] = {}
        self._work, self._picture, self._result, self._searched, self._bar = work, picture, result, searched, bar
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
        self._picture.save(self._picture.from_srgb(solution.image), file, metadata)
        self._add(number, target, metadata)

    def image(self, number: int) -> Tensor:
        """See FaceStore."""
        return read_image(self._file(number))

    def step(self, state: StepState) -> None:
        """An `on_step` callback."""
        self._watch.step(state)
        self._bar.step(state)

    def _file(self, number: int) -> Path:
        return _face_file(self._result, number)

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
