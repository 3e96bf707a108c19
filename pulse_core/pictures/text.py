"""Text on pictures. Characters that Pillow's own font lacks are drawn in a font of the machine that has them."""

from __future__ import annotations

import os
import sys
import unicodedata
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

_SUFFIXES = (".ttf", ".otf", ".ttc")
_NOWHERE = "\U0010ffff"  # no font has a glyph for it
# Fonts of Chinese, Japanese and Korean, of emoji, and of many scripts come first, as names without spaces.
_FIRST = [
    "notosanscjk",
    "notosanssc",
    "notosansjp",
    "sourcehansans",
    "wqy",
    "msyh",
    "yugoth",
    "meiryo",
    "msgothic",
    "pingfang",
    "hiragino",
    "malgun",
    "droidsansfallback",
    "notocoloremoji",
    "seguiemj",
    "applecoloremoji",
    "notoemoji",
    "notosans",
    "dejavusans",
    "arialunicode",
]
_SECOND = ("bold", "black", "light", "thin", "italic", "oblique", "condensed", "mono", "serif")
_NOT = ("lastresort", "adobeblank")  # they have a glyph for everything, which shows nothing
_BITMAP_SIZES = (109, 136, 160, 128, 96, 64, 32)  # pixels, of fonts of pictures, as emoji are
_CHINESE = {"notosanscjk": 2, "notoserifcjk": 2}  # in these files the first font draws ideographs the Japanese way
_MOST_FONTS = 300  # that are looked into for one character
_MOST_MISSED, _FEW = 200, 8  # after so many characters that no font has, only so many fonts are looked into
_SELECTORS = "\ufe0e\ufe0f"  # they choose between an emoji and a text form
_SKIN = ("\U0001f3fb", "\U0001f3ff")


_missed: set[str] = set()  # characters that no font has


class _Typeface:
    """A font, and the factor by which what it draws is resized: fonts of pictures have one size."""

    def __init__(self, font: ImageFont.FreeTypeFont, scale: float = 1.0):
        self.font, self.scale = font, scale
        self._nothing = self._shape(_NOWHERE)

    def has(self, character: str) -> bool:
        drawn = self._shape(character)
        return bool(drawn[1]) and drawn != self._nothing

    def _shape(self, character: str) -> tuple[tuple[int, int], bytes]:
        mask = self.font.getmask(character)
        return mask.size, bytes(mask)


class Pen:
    """Writes black text of one size, in pixels."""

    def __init__(self, size: int):
        self.size = size
        self._own = _own(size)

    def width(self, text: str) -> float:
        """In pixels."""
        return sum(face.font.getlength(run) * face.scale for face, run in self._runs(text))

    def write(self, picture: Image.Image, at: tuple[int, int], text: str) -> None:
        """Writes a line into an RGB picture; `at` is its left upper corner."""
        x, baseline = float(at[0]), at[1] + self._own.font.getmetrics()[0]
        for face, run in self._runs(text):
            _draw_run(picture, (x, baseline), run, face)
            x += face.font.getlength(run) * face.scale

    def _runs(self, text: str) -> Iterator[tuple[_Typeface, str]]:
        """Parts of the text, each in one font."""
        japanese, run, face = _is_japanese(text), "", self._own
        for character in unicodedata.normalize("NFC", text):
            if run and _belongs_to_the_last(character):
                run += "" if character in _SELECTORS and face.scale == 1 else character
                continue
            own = _typeface(character, self.size, japanese) or self._own
            if own is not face and run:
                yield face, run
                run = ""
            face, run = own, run + character
        if run:
            yield face, run


def missing_characters(text: str) -> str:
    """The characters that no font of this machine has, each once; they are drawn as boxes."""
    shown = (each for each in dict.fromkeys(text) if each.isprintable() and not _belongs_to_the_last(each))
    return "".join(each for each in shown if _typeface(each, 20, False) is None)


@lru_cache(maxsize=64)
def _own(size: int) -> _Typeface:
    font = ImageFont.load_default(size)
    assert isinstance(font, ImageFont.FreeTypeFont)
    return _Typeface(font)


def _is_japanese(text: str) -> bool:
    return any("\u3040" <= character <= "\u30ff" for character in text)


def _belongs_to_the_last(character: str) -> bool:
    """Whether a character only changes the one before it: accents, joiners, colours of skin."""
    return unicodedata.category(character) in ("Mn", "Me", "Cf") or _SKIN[0] <= character <= _SKIN[1]


@lru_cache(maxsize=8192)
def _typeface(character: str, size: int, japanese: bool) -> _Typeface | None:
    """The font to draw a character in: Pillow's own, or the first of the machine's that has it."""
    if character.isspace() or _own(size).has(character):
        return _own(size)
    for path in _font_files()[: _MOST_FONTS if len(_missed) < _MOST_MISSED else _FEW]:
        name = path.name.lower()
        chinese = next((index for start, index in _CHINESE.items() if name.startswith(start)), 0)
        face = _open(path, size, 0 if japanese else chinese)
        if face is not None and face.has(character):
            return face
    _missed.add(character)
    return None


@lru_cache(maxsize=1024)
def _open(path: Path, size: int, index: int) -> _Typeface | None:
    """The font of this file; None if it cannot be read."""
    for real in (size, *_BITMAP_SIZES):
        try:
            return _Typeface(ImageFont.truetype(str(path), real, index), size / real)
        except OSError:  # not a font, or one of another size
            continue
    return None


@lru_cache(maxsize=1)
def _font_files() -> tuple[Path, ...]:
    """The fonts of this machine, those that have many scripts first."""
    found = (Path(folder, name) for top in _folders() for folder, _, names in os.walk(top) for name in names)
    fonts = {path for path in found if path.suffix.lower() in _SUFFIXES}
    return tuple(sorted((path for path in fonts if not _plain(path).startswith(_NOT)), key=_rank))


def _plain(path: Path) -> str:
    return "".join(letter for letter in path.stem.lower() if letter.isalnum())


def _rank(path: Path) -> tuple[int, int, str]:
    name = _plain(path)
    place = next((number for number, start in enumerate(_FIRST) if name.startswith(start)), len(_FIRST))
    return place, sum(word in name for word in _SECOND), str(path)


def _folders() -> list[Path]:
    """Where this system keeps fonts, as in ImageFont.truetype."""
    home = Path("~").expanduser()
    if sys.platform == "win32":
        local = Path(os.environ.get("LOCALAPPDATA", home / "AppData" / "Local"), "Microsoft", "Windows", "Fonts")
        return [Path(os.environ.get("WINDIR", "C:/Windows"), "fonts"), local]
    if sys.platform == "darwin":
        return [Path("/Library/Fonts"), Path("/System/Library/Fonts"), home / "Library" / "Fonts"]
    shared = os.environ.get("XDG_DATA_DIRS") or "/usr/local/share:/usr/share"
    own = os.environ.get("XDG_DATA_HOME") or str(home / ".local" / "share")
    return [Path(folder, "fonts") for folder in (own, *shared.split(":"))]


def _draw_run(picture: Image.Image, at: tuple[float, float], run: str, face: _Typeface) -> None:
    """Draws text of one font; `at` is the left end of its baseline."""
    if face.scale == 1:
        ImageDraw.Draw(picture).text(at, run, fill="black", font=face.font, anchor="ls", embedded_color=True)
        return
    left, top, right, bottom = face.font.getbbox(run, anchor="ls")
    tile = Image.new("RGBA", (max(1, round(right - left)), max(1, round(bottom - top))))
    ImageDraw.Draw(tile).text((-left, -top), run, fill="black", font=face.font, anchor="ls", embedded_color=True)
    width, height = (max(1, round(side * face.scale)) for side in tile.size)
    small = tile.resize((width, height), Image.Resampling.LANCZOS)
    picture.paste(small, (round(at[0] + left * face.scale), round(at[1] + top * face.scale)), small)
