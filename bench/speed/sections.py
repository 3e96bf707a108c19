"""The sections of bench/RESULTS.md, which are written by different runs; each run keeps the others' sections."""

from __future__ import annotations

from pathlib import Path

from pulse_core.files import whole_file

GPU, CALCULATED = "on a gpu", "calculated"
ORDER = (GPU, CALCULATED)


def _marks(name: str) -> tuple[str, str]:
    return f"<!-- begin: {name} -->", f"<!-- end: {name} -->"


def section(text: str, name: str) -> str:
    """The text between a section's marks; "" if there is none."""
    begin, end = _marks(name)
    _, found, rest = text.partition(begin)
    return rest.partition(end)[0].strip() if found else ""


def main_part(text: str) -> str:
    """The text before all sections."""
    return text.partition("<!-- begin: ")[0].strip()


def write(path: Path, main: str | None = None, sections: dict[str, str] | None = None) -> None:
    """Writes the main part, some sections, or both; the rest of the file stays."""
    before = path.read_text(encoding="utf-8") if path.is_file() else ""
    parts = [main_part(before) if main is None else main.strip()]
    for name in ORDER:
        body = (sections or {}).get(name, section(before, name)).strip()
        begin, end = _marks(name)
        parts += [f"{begin}\n\n{body}\n\n{end}"] if body else []
    with whole_file(path) as file:
        file.write_text("\n\n".join(part for part in parts if part) + "\n", encoding="utf-8")
