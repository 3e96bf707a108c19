"""As much of ComfyUI as the pack touches, with the same manners, and a record of what was asked of it."""

from __future__ import annotations

import os
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import torch


class InterruptProcessingException(Exception):
    """An Exception, as the host's is: a broad `except` would swallow it."""


class Host:
    """The state behind the fakes; `reset` before each test.

    loads: one (patchers, keywords, was inference mode on) a call of load_models_gpu.
    updates: one (value, total, preview) a call of update_absolute.
    freed: the patchers that were kept, one list a call of free_memory.
    interrupt_at: the interrupt button is pressed once so many updates were made.
    checks: how often the pack asked whether it was pressed; interrupt_at_check: at which of these it was.
    """

    def __init__(self) -> None:
        self.folder_paths = _folder_paths()
        self.management = _model_management(self)
        self.args = SimpleNamespace(disable_metadata=False)
        self.reset(Path(os.devnull))

    def reset(self, models_dir: Path) -> None:
        self.folder_paths.models_dir = str(models_dir)
        self.folder_paths.folder_names_and_paths.clear()
        self.loads: list[tuple[list[Any], dict[str, Any], bool]] = []
        self.updates: list[tuple[int, int, Any]] = []
        self.patchers: list[Any] = []
        self.texts: list[tuple[str, str, str | None]] = []
        self.args.disable_metadata = False
        self.freed: list[list[Any]] = []
        self.interrupt_at: int | None = None
        self.checks, self.interrupt_at_check = 0, -1
        self.results_go_to = torch.device("cpu")

    def modules(self) -> dict[str, ModuleType]:
        """What belongs into sys.modules."""
        utils, patcher = _module("comfy.utils"), _module("comfy.model_patcher")
        utils.ProgressBar = _progress_bar(self)
        patcher.ModelPatcher = _model_patcher(self)
        latest = _module("comfy_api.latest", io=_io(), ui=_ui(), ComfyExtension=ComfyExtension)
        packages = {
            "comfy": _module("comfy", utils=utils, model_patcher=patcher, model_management=self.management),
            "comfy_api": _module("comfy_api", latest=latest),
        }
        for package in packages.values():
            package.__path__ = []
        cli_args = _module("comfy.cli_args", args=self.args)
        packages["comfy"].cli_args = cli_args
        leaves = (cli_args, utils, patcher, self.management, latest, self.folder_paths, _server(self))
        return packages | {leaf.__name__: leaf for leaf in leaves}


def _module(name: str, **content: Any) -> ModuleType:
    module = ModuleType(name)
    vars(module).update(content)
    return module


# folder_paths


def _folder_paths() -> ModuleType:
    known: dict[str, tuple[list[str], set[str]]] = {}

    def add_model_folder_path(name: str, path: str) -> None:
        paths, _ = known.setdefault(name, ([], set()))
        if path not in paths:
            paths.append(path)

    def get_filename_list(name: str) -> list[str]:
        paths, endings = known[name]
        found = set()
        for path in paths:
            for folder, _, files in os.walk(path, followlinks=True):
                found |= {os.path.relpath(os.path.join(folder, file), path) for file in files}
        return sorted(file for file in found if not endings or os.path.splitext(file)[1].lower() in endings)

    def get_full_path(name: str, file: str) -> str | None:
        file = os.path.relpath(os.path.join("/", file), "/")  # nothing climbs out of its folder
        candidates = (os.path.join(path, file) for path in known[name][0])
        return next((path for path in candidates if os.path.isfile(path)), None)

    def get_output_directory() -> str:
        return str(Path(module.models_dir).parent / "output")

    def get_user_directory() -> str:
        return str(Path(module.models_dir).parent / "user")

    def get_input_directory() -> str:
        return str(Path(module.models_dir).parent / "input")

    def get_save_image_path(prefix: str, folder: str) -> tuple[str, str, int, str, str]:
        path = (Path(folder) / prefix).resolve()
        if not path.is_relative_to(Path(folder).resolve()):
            raise ValueError("saving outside of the output folder is not allowed")
        path.parent.mkdir(parents=True, exist_ok=True)
        taken = sum(file.name.startswith(f"{path.name}_") for file in path.parent.iterdir())
        return str(path.parent), path.name, taken + 1, str(Path(prefix).parent), prefix

    module = _module(
        "folder_paths",
        folder_names_and_paths=known,
        add_model_folder_path=add_model_folder_path,
        get_filename_list=get_filename_list,
        get_full_path=get_full_path,
        get_folder_paths=lambda name: list(known[name][0]),
        get_output_directory=get_output_directory,
        get_input_directory=get_input_directory,
        get_user_directory=get_user_directory,
        get_temp_directory=lambda: str(Path(module.models_dir).parent / "temp"),
        get_save_image_path=get_save_image_path,
    )
    return module


# comfy.model_management, comfy.model_patcher, comfy.utils


def _model_management(host: Host) -> ModuleType:
    def load_models_gpu(models: list[Any], **keywords: Any) -> None:
        host.loads.append((models, keywords, torch.is_inference_mode_enabled()))
        for patcher in models:
            patcher.model.to(patcher.load_device)

    def throw_exception_if_processing_interrupted() -> None:
        host.checks += 1
        if host.interrupt_at is not None and len(host.updates) >= host.interrupt_at:
            host.interrupt_at = None  # raised once, as the host does
            raise InterruptProcessingException
        if host.checks == host.interrupt_at_check:
            raise InterruptProcessingException

    class LoadedModel:
        def __init__(self, patcher: Any):
            self.patcher = patcher

    def free_memory(amount: float, device: torch.device, keep_loaded: list[Any]) -> None:
        host.freed.append([kept.patcher for kept in keep_loaded])

    return _module(
        "comfy.model_management",
        LoadedModel=LoadedModel,
        free_memory=free_memory,
        soft_empty_cache=lambda: None,
        InterruptProcessingException=InterruptProcessingException,
        get_torch_device=lambda: torch.device("cpu"),
        unet_offload_device=lambda: torch.device("cpu"),
        intermediate_device=lambda: host.results_go_to,
        load_models_gpu=load_models_gpu,
        throw_exception_if_processing_interrupted=throw_exception_if_processing_interrupted,
    )


def _model_patcher(host: Host) -> type:
    class ModelPatcher:
        def __init__(self, model: torch.nn.Module, load_device: torch.device, offload_device: torch.device):
            self.model, self.load_device, self.offload_device = model, load_device, offload_device
            if getattr(model, "device", None) is None:
                model.device = offload_device
            host.patchers.append(self)

    return ModelPatcher


def _progress_bar(host: Host) -> type:
    class ProgressBar:
        def __init__(self, total: int):
            self.total = total

        def update_absolute(self, value: int, total: int | None = None, preview: Any = None) -> None:
            host.management.throw_exception_if_processing_interrupted()
            self.total = self.total if total is None else total
            host.updates.append((min(value, self.total), self.total, preview))

    return ProgressBar


def _server(host: Host) -> ModuleType:
    class PromptServer:
        instance: Any
        client_id = "browser"

        def send_sync(self, event: str, data: dict[str, Any], sid: str | None = None) -> None:
            assert event == "pulse.summary"
            host.texts.append((data["node"], data["text"], sid))

    PromptServer.instance = PromptServer()
    return _module("server", PromptServer=PromptServer)


# comfy_api.latest


class ComfyExtension:
    async def get_node_list(self) -> list[type]:
        raise NotImplementedError


class Socket:
    """An input or an output; knows only the keywords that the host knows for its kind."""

    io_type: str
    accepts: frozenset[str]

    def __init__(self, id: str, **metadata: Any):
        self.extra_dict = metadata.get("extra_dict")
        unknown = set(metadata) - self.accepts
        if unknown:
            raise TypeError(f"{type(self).__qualname__} got unexpected keywords {sorted(unknown)}")
        self.id, self.metadata = id, metadata

    @property
    def tooltip(self) -> str | None:
        return self.metadata.get("tooltip")

    @property
    def optional(self) -> bool:
        return self.metadata.get("optional", False)


_INPUT = frozenset({"display_name", "optional", "tooltip", "lazy", "extra_dict"})
_WIDGET = frozenset({"display_name", "optional", "tooltip", "lazy", "default", "socketless"})
_OUTPUT = frozenset({"display_name", "tooltip", "is_output_list"})
_NUMBER = _WIDGET | {"min", "max", "step", "control_after_generate", "display_mode", "force_input"}


def _kind(io_type: str, accepts: frozenset[str] = _INPUT) -> type:
    """A type of socket: its Input, whose keywords are `accepts`, and its Output."""
    metadata = {"io_type": io_type}
    return type(
        io_type,
        (),
        {
            "io_type": io_type,
            "Input": type(f"{io_type}.Input", (Socket,), {**metadata, "accepts": accepts}),
            "Output": type(f"{io_type}.Output", (Socket,), {**metadata, "accepts": _OUTPUT}),
        },
    )


class Schema:
    def __init__(
        self,
        node_id: str,
        display_name: str | None = None,
        category: str = "sd",
        inputs: list[Socket] | None = None,
        outputs: list[Socket] | None = None,
        description: str = "",
        is_output_node: bool = False,
        hidden: list[str] | None = None,
    ):
        self.hidden = hidden or []
        self.node_id, self.display_name, self.category, self.description = node_id, display_name, category, description
        self.inputs, self.outputs, self.is_output_node = inputs or [], outputs or [], is_output_node
        ids = [socket.id for socket in (*self.inputs, *self.outputs)]
        if len(set(ids)) != len(ids):
            raise ValueError(f"{node_id}: ids must be unique among inputs and outputs together, found {ids}")


class NodeOutput:
    def __init__(self, *args: Any, ui: Any = None):
        self.args, self.ui = args, ui


class ComfyNode:
    @classmethod
    def define_schema(cls) -> Schema:
        raise NotImplementedError

    @classmethod
    def execute(cls, **inputs: Any) -> NodeOutput:
        raise NotImplementedError


class PreviewText:
    def __init__(self, value: str):
        self.value = value


class SavedResult(dict):
    def __init__(self, filename: str, subfolder: str, type: str):
        super().__init__(filename=filename, subfolder=subfolder, type=type)


class SavedImages:
    def __init__(self, results: list[SavedResult]):
        self.results = results


class NewerSchema(Schema):
    """As in 0.33: with aliases for the search, a tab of its own, and outputs that survive a reload."""

    def __init__(
        self,
        *args: Any,
        search_aliases: list[str] | None = None,
        essentials_category: str | None = None,
        has_intermediate_output: bool = False,
        **fields: Any,
    ):
        super().__init__(*args, **fields)
        self.search_aliases, self.essentials_category = search_aliases or [], essentials_category
        self.has_intermediate_output = has_intermediate_output


def newer_io() -> dict[str, Any]:
    """What newer hosts have in comfy_api.latest.io, by name: for monkeypatch."""
    compare = _kind("IMAGECOMPARE", frozenset({"display_name", "optional", "tooltip", "socketless", "advanced"}))
    return {"Schema": NewerSchema, "ImageCompare": compare}


def _ui() -> ModuleType:
    return _module("comfy_api.latest.ui", PreviewText=PreviewText, SavedResult=SavedResult, SavedImages=SavedImages)


def _io() -> ModuleType:
    return _module(
        "comfy_api.latest.io",
        Schema=Schema,
        Hidden=SimpleNamespace(unique_id="UNIQUE_ID", extra_pnginfo="EXTRA_PNGINFO", prompt="PROMPT"),
        FolderType=SimpleNamespace(output="output", temp="temp"),
        ComfyNode=ComfyNode,
        NodeOutput=NodeOutput,
        Custom=_kind,
        Image=_kind("IMAGE"),
        Mask=_kind("MASK"),
        Boolean=_kind("BOOLEAN", _WIDGET | {"label_on", "label_off", "force_input"}),
        Int=_kind("INT", _NUMBER),
        Float=_kind("FLOAT", _NUMBER - {"control_after_generate"} | {"round"}),
        String=_kind("STRING", _WIDGET | {"multiline", "placeholder", "dynamic_prompts", "force_input"}),
        Combo=_kind("COMBO", _WIDGET | {"options", "control_after_generate", "upload", "image_folder", "remote"}),
    )
