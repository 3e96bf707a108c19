"""The texts: links and anchors that lead somewhere, a short README, a notice wherever faces are shown."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import pytest
from conftest import ROOT

from pulse_core.degradations import DEGRADATIONS

DOCS = sorted((ROOT / "docs").rglob("*.md"))
TEXTS = [*sorted(ROOT.glob("README*.md")), ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *DOCS]
LINK = re.compile(r"\]\(([^()\s]+)\)")
FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
INVENTED = re.compile(r"\binvent|虚构")


def names(paths: list[Path]) -> list[str]:
    return [str(path.relative_to(ROOT)) for path in paths]


@cache
def prose(path: Path) -> str:
    return FENCE.sub("", path.read_text(encoding="utf-8"))


@cache
def anchors(path: Path) -> set[str]:
    """GitHub's: lower case, punctuation gone, spaces become hyphens."""
    headings = re.findall(r"^#+ (.*)$", prose(path), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("text", TEXTS, ids=names(TEXTS))
def test_every_link_leads_somewhere(text):
    links = [link for link in LINK.findall(prose(text)) if not link.startswith(("http://", "https://"))]
    broken = []
    for link in links:
        name, _, anchor = link.partition("#")
        target = (text.parent / name).resolve() if name else text
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(link)
    assert not broken


def test_every_page_is_linked():
    readmes = [path for path in TEXTS if path.name.startswith("README")]
    linked = {(text.parent / link).resolve() for text in readmes for link in LINK.findall(prose(text))}
    assert set(DOCS) <= linked


def test_chinese_pages_have_an_english_one():
    english = {path.name for path in DOCS if path.parent.name == "docs"}
    assert {path.name for path in DOCS if path.parent.name == "zh"} <= english


def test_the_readmes_stay_short():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").split()) < 1000
    chinese = (ROOT / "README.zh.md").read_text(encoding="utf-8")
    characters = len(re.findall("[\u4e00-\u9fff]", chinese))
    assert characters < 1600  # what 1,000 English words take


@pytest.mark.parametrize("text", TEXTS, ids=names(TEXTS))
def test_who_shows_a_face_says_that_it_is_invented(text):
    if re.search(r"!\[.*\]\(.*(samples|sheets)/", prose(text)):
        assert INVENTED.search(prose(text))


def test_the_library_examples_name_what_there_is():
    import pulse_core

    for text in TEXTS:
        for line in re.findall(r"^from pulse_core import (.*)$", text.read_text(encoding="utf-8"), re.MULTILINE):
            assert {name.strip() for name in line.split(",")} <= set(pulse_core.__all__), text


@pytest.mark.parametrize("folder", ["docs", "docs/zh"])
def test_the_table_of_degradations_is_whole(folder):
    text = (ROOT / folder / "degradations.md").read_text(encoding="utf-8")
    rows = "".join(line.split("|")[1] for line in text.splitlines() if line.startswith("| `"))
    assert set(re.findall("`(.*?)`", rows)) == {kind.name for kind in DEGRADATIONS}


@pytest.mark.parametrize("folder", ["docs", "docs/zh"])
def test_the_table_of_nodes_is_whole(folder):
    text = (ROOT / folder / "nodes.md").read_text(encoding="utf-8")
    pages = {path.parent.name for path in (ROOT / "web" / "docs").glob("*/en.md")}
    assert set(re.findall(r"^\| \*\*.*?\*\* `(\w+)`", text, re.MULTILINE)) == pages


def test_the_readme_counts_the_nodes_right():
    pages = list((ROOT / "web" / "docs").glob("*/en.md"))
    assert f"[All {len(pages)} nodes]" in prose(ROOT / "README.md")
    assert f"全部 {len(pages)} 个节点" in prose(ROOT / "README.zh.md")
