"""Files that this pack cannot read: what they are, and what to do.

To add one: a line in BEGINNINGS (by the first bytes) or in ARCHIVES (by the names in a zip archive).
"""

from __future__ import annotations

from collections.abc import Collection

_STATE_DICT = "in the program that made it, save the generator's state_dict() with torch.save and load that."
_AGAIN = "download the file itself; its page may want a browser or an account."
_UNPACK = "unpack it and load the file inside."

# (first bytes, what such a file is, what to do)
BEGINNINGS: tuple[tuple[bytes, str, str], ...] = (
    (
        b"\x89HDF\r\n\x1a\n",
        "an HDF5 file, as Keras writes them",
        "convert it to a state_dict of a known program first.",
    ),
    (b"\x93NUMPY", "a single numpy array (.npy)", "load the checkpoint that it belongs to."),
    (b"GGUF", "a GGUF file, which holds quantised weights", "load the checkpoint that it was quantised from."),
    (b"version https://git-lfs", "a Git LFS pointer and not the file", "run `git lfs pull` where it was cloned."),
    (b"<!DOCTYPE", "a web page", _AGAIN),
    (b"<!doctype", "a web page", _AGAIN),
    (b"<html", "a web page", _AGAIN),
    (b"\x1f\x8b", "a gzip archive", _UNPACK),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive", _UNPACK),
    (b"Rar!", "a RAR archive", _UNPACK),
    (b"\x89PNG", "a picture", "choose a checkpoint file."),
    (b"\xff\xd8\xff", "a picture", "choose a checkpoint file."),
    (b"\x08", "an ONNX graph, or another file that holds a protobuf message", _STATE_DICT),
)
# (how a name in the archive ends, what such an archive is, what to do)
ARCHIVES: tuple[tuple[str, str, str], ...] = (
    ("constants.pkl", "a TorchScript program", _STATE_DICT),
    ("serialized_exported_program.json", "a program that torch.export wrote", _STATE_DICT),
    ("archive_format", "a package that torch.export wrote (.pt2)", _STATE_DICT),
    ("bytecode.pkl", "a TorchScript program for mobile devices", _STATE_DICT),
    (".npy", "an archive of numpy arrays (.npz)", "make a state_dict of its arrays, under a known program's names."),
    ("metadata.json", "a Keras archive", "convert it to a state_dict of a known program first."),
    (".pkl", "a zip archive with a checkpoint inside", _UNPACK),
    (".pt", "a zip archive with a checkpoint inside", _UNPACK),
    (".pth", "a zip archive with a checkpoint inside", _UNPACK),
    (".safetensors", "a zip archive with a checkpoint inside", _UNPACK),
)


def of_beginning(head: bytes) -> tuple[str, str] | None:
    """What a file with these first bytes is, and what to do; None if unknown."""
    return next(((what, remedy) for start, what, remedy in BEGINNINGS if head.startswith(start)), None)


def of_archive(names: Collection[str]) -> tuple[str, str] | None:
    """What a zip archive with these names is, and what to do; None if unknown."""
    for end, what, remedy in ARCHIVES:
        if any(name == end or name.endswith((f"/{end}", end if end.startswith(".") else f"/{end}")) for name in names):
            return what, remedy
    return None
