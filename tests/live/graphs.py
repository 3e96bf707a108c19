"""Graphs in the format of the server's API: built by hand, or converted from a workflow that the front end saved."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

# What exists in the front end alone. A primitive's value is saved in the widget that it feeds, too.
UNSEEN = ("PrimitiveNode", "Note", "MarkdownNote")
WIDGETS = ("INT", "FLOAT", "STRING", "BOOLEAN", "COMBO")
CONTROLS = ("fixed", "increment", "decrement", "randomize")
ACTIVE = 0
TINY = "tiny.safetensors"  # what tiny.save_tiny writes


def inputs_of(info: dict[str, Any]) -> Iterator[tuple[str, Any, dict[str, Any], bool]]:
    """(name, type, options, required) of each input, in the order of the node; a combo's choices are its type."""
    for group in ("required", "optional"):
        for name, (kind, *options) in info["input"].get(group, {}).items():
            yield name, kind, options[0] if options else {}, group == "required"


def is_widget(kind: Any, options: dict[str, Any]) -> bool:
    return (isinstance(kind, list) or kind in WIDGETS) and not options.get("forceInput")


def has_control(name: str, kind: Any, options: dict[str, Any]) -> bool:
    """Whether the front end puts a "control after generate" widget behind this one: asked for, or by its name."""
    return options.get("control_after_generate", kind == "INT" and name in ("seed", "noise_seed"))


def default(kind: Any, options: dict[str, Any]) -> Any:
    choices = kind if isinstance(kind, list) else options.get("options")
    return options["default"] if "default" in options else (choices or [""])[0]


def complete(graph: dict[str, Any], known: dict[str, Any]) -> dict[str, Any]:
    """(class, inputs) by node -> the API format, with the default of each required widget that is not given."""
    return {
        node: {
            "class_type": kind,
            "inputs": {
                name: default(type_, options)
                for name, type_, options, required in inputs_of(known[kind])
                if required and is_widget(type_, options)
            }
            | inputs,
        }
        for node, (kind, inputs) in graph.items()
    }


def searched(file: str = TINY, face: int = 0, **settings: Any) -> dict[str, Any]:
    """The face of a seed, made small, and searched for: (class, inputs) by node."""
    wired = {"stylegan": ["load", 0], "image": ["small", 0]}
    return {
        "load": ("LoadStyleGAN", {"stylegan_file": file}),
        "sample": ("PULSESampleFace", {"stylegan": ["load", 0], "seed": face}),
        "small": ("BicubicDownsample", {"image": ["sample", 0], "factor": 4 if file == TINY else 32}),
        "search": ("PULSESearch", {**wired, **settings}),
    }


def to_api(workflow: dict[str, Any], known: dict[str, Any]) -> dict[str, Any]:
    """A workflow as the front end saves it -> the API format.

    Args:
        known: /object_info, which says what the values of the widgets are, in their order.
    """
    nodes = {node["id"]: node for node in workflow["nodes"] if node["type"] not in UNSEEN}
    links = {link[0]: (link[1], link[2]) for link in workflow["links"]}
    graph = {}
    for number, node in nodes.items():
        if node["type"] == "Reroute":
            continue
        if node.get("mode", ACTIVE) != ACTIVE:
            raise ValueError(f"node {number} ({node['type']}) is muted or bypassed")
        inputs = _widget_values(node, known[node["type"]])
        for socket in node.get("inputs", []):
            source = _source(socket.get("link"), links, nodes)
            if source is not None:
                inputs[socket["name"]] = source
        graph[str(number)] = {"class_type": node["type"], "inputs": inputs}
    return graph


def _source(link: int | None, links: dict[int, tuple[int, int]], nodes: dict[int, Any]) -> list[Any] | None:
    """[node, output] at the other end of a link, behind any reroutes; None for none and for a primitive's."""
    while link is not None:
        number, slot = links[link]
        if number not in nodes:
            return None
        if nodes[number]["type"] != "Reroute":
            return [str(number), slot]
        link = nodes[number]["inputs"][0].get("link")
    return None


def _widget_values(node: dict[str, Any], info: dict[str, Any]) -> dict[str, Any]:
    required = {name for name, _, _, needed in inputs_of(info) if needed}
    widgets = [(name, kind, options) for name, kind, options, _ in inputs_of(info) if is_widget(kind, options)]
    values = node.get("widgets_values") or []
    if isinstance(values, dict):
        return {name: values[name] for name, _, _ in widgets if name in values}
    left, found = list(values), {}
    for name, kind, options in widgets:
        if not left and name not in required:  # appended since the workflow was saved
            found[name] = default(kind, options)
            continue
        if not left:
            raise ValueError(f"{node['type']} has no saved value for {name!r}")
        found[name] = left.pop(0)
        if has_control(name, kind, options):
            control = left.pop(0) if left else None
            if control not in CONTROLS:
                raise ValueError(f"{node['type']} has {control!r} where the control of {name!r} belongs")
    if left and not any(options.get("image_upload") for _, _, options in widgets):  # its button is saved as well
        raise ValueError(f"{node['type']} has {len(left)} saved values too many: {left}")
    return found
