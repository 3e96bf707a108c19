"""Captions in every script that a font of the machine has."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from fonts import write_font
from PIL import Image, ImageDraw, ImageFont

from pulse_core.pictures import text
from pulse_core.pictures.sheets import contact_sheet
from pulse_core.pictures.text import Pen, missing_characters


@pytest.fixture
def fonts(tmp_path, monkeypatch):
    """fonts(name=characters, ...): the machine has these fonts and no others."""

    def have(**known):
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        folder.mkdir()
        for name, characters in known.items():
            write_font(folder / "deeper" / f"{name}.ttf", characters)
        monkeypatch.setattr(text, "_folders", lambda: [folder, tmp_path / "missing"])
        forget()
        return folder

    yield have
    monkeypatch.undo()
    forget()


def forget():
    for cached in (text._typeface, text._font_files, text._open):
        cached.cache_clear()
    text._missed.clear()


def written(line, size=20):
    picture = Image.new("RGB", (300, 40), "white")
    Pen(size).write(picture, (5, 5), line)
    return np.asarray(picture, np.int16)


def test_text_that_pillow_has_is_drawn_as_before(fonts):
    fonts(NotoSansCJK="abc")
    before = Image.new("RGB", (300, 40), "white")
    ImageDraw.Draw(before).text((5, 5), "#1 residual é", fill="black", font=ImageFont.load_default(20))
    assert (written("#1 residual é") == np.asarray(before)).all()
    assert Pen(20).width("residual") == ImageFont.load_default(20).getlength("residual")


@pytest.mark.parametrize("line", ["你好", "アイリーン", "콜린스", "😀", "नमस्ते", "שלום"])
def test_other_scripts_are_drawn_where_a_font_has_them(fonts, line):
    fonts(Latin="abc")
    base = [each for each in line if each.isprintable() and not text._belongs_to_the_last(each)]
    assert missing_characters(line) == "".join(dict.fromkeys(base))
    boxes = written(line)
    fonts(Latin="abc", Script=line)
    assert missing_characters(line) == ""
    assert not (written(line) == boxes).all()
    assert (written("a" + line)[:, :14] == written("a")[:, :14]).all(), "each character in the font that has it"


def test_what_joins_or_colours_a_character_is_not_missing(fonts):
    fonts(Emoji="👍👩🚀")
    assert missing_characters("👍🏽 👩\u200d🚀 a\u0301 a\ufe0f \n\t") == ""
    assert (written("a\ufe0f") == written("a")).all(), "a selector is not drawn as a box"


def test_fonts_of_many_scripts_come_first_and_plain_ones_before_bold_ones(fonts):
    fonts(AAA="你", ZBold="你", ZRegular="你", NotoSansCJK="你", LastResort="你好", Broken="")
    names = [path.stem for path in text._font_files()]
    assert names[0] == "NotoSansCJK"
    assert names.index("ZRegular") < names.index("ZBold")
    assert missing_characters("好") == "好", "LastResort has a glyph for everything, which shows nothing"


def test_files_that_are_no_fonts_are_passed_over(fonts):
    folder = fonts(Good="你")
    (folder / "AAA.ttf").write_bytes(b"not a font")
    (folder / "AAB.ttf").write_bytes(b"")
    forget()
    assert missing_characters("你好") == "好"


def test_a_sheet_says_which_characters_no_font_has(fonts):
    fonts(Good="你")
    images = [torch.zeros(3, 8, 8)] * 2
    whole, lacking = (contact_sheet(images, [first, "b"], side=64) for first in ("你", "你好𒀀𒀁𒀂"))
    assert lacking.height > whole.height
    assert lacking.width == whole.width


def test_characters_without_a_font_cost_less_once_there_were_many(fonts, monkeypatch):
    fonts(**{f"Font{number:02}": "你" for number in range(20)})
    looked = []
    has = text._Typeface.has
    monkeypatch.setattr(text._Typeface, "has", lambda face, each: looked.append(each) or has(face, each))
    odd = [chr(0x12000 + number) for number in range(400)]
    missing_characters("".join(odd))
    assert looked.count(odd[0]) > 20
    assert looked.count(odd[-1]) < 10
