"""The host's own translations: English is what the schemas say, and Chinese follows whenever that changes."""

from __future__ import annotations

import hashlib
import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
from fake_host import newer_io

ROOT = Path(__file__).resolve().parents[2]
# The English that the Chinese translates: a short hash for each socket.
SEEN = Path(__file__).with_name("locales_seen.json")
ENGLISH, CHINESE = (ROOT / "locales" / language / "nodeDefs.json" for language in ("en", "zh"))
HELP = ROOT / "web" / "docs"
UPDATE = os.environ.get("UPDATE_LOCALES") == "1"
HOW = "UPDATE_LOCALES=1 python -m pytest tests/nodes/test_locales.py"
SAME_IN_CHINESE = {"eps"}


def described(schema: Any) -> dict[str, Any]:
    """A node as the front end looks its texts up: inputs by id, outputs by place."""
    inputs = {socket.id: {"name": socket.id, "tooltip": socket.tooltip} for socket in schema.inputs}
    outputs = {
        str(place): {"name": socket.metadata["display_name"], "tooltip": socket.tooltip}
        for place, socket in enumerate(schema.outputs)
    }
    texts = {"display_name": schema.display_name, "description": schema.description}
    return {**texts, "inputs": inputs, "outputs": outputs}


def read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def write(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def flat(tree: dict[str, Any]) -> dict[str, str]:
    """Each text by its place, like PULSESearch.inputs.seed.tooltip."""
    texts: dict[str, str] = {}
    for key, value in tree.items():
        inner = {f".{place}": text for place, text in flat(value).items()} if isinstance(value, dict) else {"": value}
        texts.update({f"{key}{place}": text for place, text in inner.items()})
    return texts


def hashes(tree: dict[str, Any]) -> dict[str, str]:
    """Of what each socket says, and each node itself."""
    said: dict[str, str] = {}
    for place, text in flat(tree).items():
        socket = place.rpartition(".")[0]
        said[socket] = f"{said.get(socket, '')}{text}\n"
    return {socket: hashlib.sha256(text.encode()).hexdigest()[:8] for socket, text in said.items()}


def numbers(text: str) -> set[str]:
    return set(re.findall(r"\d+(?:[.,]\d+)*", text))


def untranslated(text: str, options: list[str]) -> set[str]:
    """What stays as it is in every language: names in capitals, and the values of the widget's combo."""
    values = {value for value in options if re.search(rf"(?<!\w){re.escape(value)}(?!\w)", text)}
    return values | set(re.findall(r"\b[A-Z][A-Z0-9]+\b", text))


@pytest.fixture
def english(pack, monkeypatch) -> dict[str, Any]:
    """In a newer host, which has more inputs."""
    for name, value in newer_io().items():
        monkeypatch.setattr(pack.submodule("nodes.offers").io, name, value, raising=False)
    return {node_id: described(pack.schema(node_id)) for node_id in pack.nodes}


@pytest.fixture
def chinese() -> dict[str, Any]:
    return read(CHINESE)


def test_the_english_is_what_the_schemas_say(english):
    if UPDATE:
        write(ENGLISH, english)
    assert read(ENGLISH) == english, f"write it again: {HOW}"


def test_the_chinese_has_the_same_nodes_and_sockets(english, chinese):
    assert flat(chinese).keys() == flat(english).keys()


def test_the_chinese_translates_the_english_as_it_is_now(english):
    """A changed English text fails here until the Chinese was looked at."""
    if UPDATE:
        write(SEEN, hashes(english))
    seen, now = read(SEEN), hashes(english)
    changed = sorted(socket for socket in seen.keys() | now.keys() if seen.get(socket) != now.get(socket))
    assert not changed, f"translate {', '.join(changed)} again in {CHINESE.relative_to(ROOT)}, then {HOW}"


def test_every_chinese_text_is_chinese(chinese):
    texts = {place: text for place, text in flat(chinese).items() if text not in SAME_IN_CHINESE}
    assert not {place for place, text in texts.items() if not re.search("[\u4e00-\u9fff]", text)}


def test_numbers_options_and_names_are_the_same_in_chinese(pack, english, chinese):
    options = {
        f"{node_id}.inputs.{socket.id}.tooltip": socket.metadata.get("options") or []
        for node_id in pack.nodes
        for socket in pack.schema(node_id).inputs
    }
    translated = flat(chinese)
    for place, text in flat(english).items():
        assert numbers(translated[place]) == numbers(text), place
        missing = {word for word in untranslated(text, options.get(place, [])) if word not in translated[place]}
        assert not missing, f"{place}: {missing}"


def test_the_chinese_says_too_that_the_face_is_invented(pack, english, chinese):
    notice = pack.submodule("pulse_core.pictures.images").NOTICE
    inventing = {node_id for node_id, node in english.items() if notice in node["description"]}
    assert "PULSESearch" in inventing
    for node_id in inventing:
        for words in ("虚构", "此人并不存在", "不指认任何人"):
            assert words in chinese[node_id]["description"], node_id


def test_readers_of_other_languages_get_the_english_help(pack):
    """Front ends ask for docs/NODE/LANGUAGE.md, then for docs/NODE.md; the latter is written from the English page."""
    for node_id in pack.nodes:
        page = (HELP / node_id / "en.md").read_text(encoding="utf-8")
        fallback = HELP / f"{node_id}.md"
        if UPDATE:
            fallback.write_text(page, encoding="utf-8")
        assert fallback.is_file(), f"write it: {HOW}"
        assert fallback.read_text(encoding="utf-8") == page, f"write it again: {HOW}"


def test_the_front_end_finds_and_shows_the_texts_as_they_are(english, chinese):
    """It looks ids up in which dots are other characters, and reads braces, @ and | as its own syntax."""
    for tree in (english, chinese):
        assert not {place for place, text in flat(tree).items() if set(text) & set("{}@|")}
        ids = {*tree, *(id for node in tree.values() for id in node["inputs"])}
        assert not {id for id in ids if "." in id}
