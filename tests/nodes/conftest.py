"""The pack, loaded the way the host loads it, inside a fake host. Tests run in inference mode, as nodes do."""

from __future__ import annotations

import asyncio
import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from fake_host import Host, NodeOutput, PreviewText
from tiny import save_tiny

ROOT = Path(__file__).resolve().parents[2]


class Pack:
    """The loaded pack: its nodes by id, and `run`, which does what the host does with one."""

    def __init__(self, module: ModuleType, host: Host):
        self._module, self._host = module, host
        self.nodes: dict[str, type] = {}
        self.extra_pnginfo: dict[str, Any] = {}  # what goes into the pictures of the running graph

    def register(self) -> None:
        async def node_list() -> list[type]:
            return await (await self._module.comfy_entrypoint()).get_node_list()

        self.nodes = {node.define_schema().node_id: node for node in asyncio.run(node_list())}

    def submodule(self, name: str) -> ModuleType:
        """Of this copy of the pack: its classes are not those of a plain `import pulse_core`."""
        return sys.modules[f"{self._module.__name__}.{name}"]

    def schema(self, node_id: str) -> Any:
        return self.nodes[node_id].define_schema()

    def run(self, node_id: str, **inputs: Any) -> tuple[Any, ...]:
        """Executes a node in inference mode; what is not given has its widget's default."""
        assert torch.is_inference_mode_enabled(), (
            "the host runs nodes in inference mode; without it a test proves nothing"
        )
        schema = self.schema(node_id)
        defaults = {socket.id: socket.metadata["default"] for socket in schema.inputs if "default" in socket.metadata}
        hidden = SimpleNamespace(unique_id=node_id, prompt={}, extra_pnginfo=self.extra_pnginfo)
        locked = type(node_id, (self.nodes[node_id],), {"hidden": hidden})  # a clone
        output = locked.execute(**{**defaults, **inputs})
        assert isinstance(output, NodeOutput)
        assert len(output.args) == len(schema.outputs)
        if isinstance(output.ui, PreviewText):  # the host sends it to the browser
            self._host.texts.append((node_id, output.ui.value, "browser"))
        return output.args


@pytest.fixture(scope="session")
def _loaded() -> Iterator[tuple[Host, Pack]]:
    host = Host()
    name = str(ROOT).replace(".", "_x_")  # the host's own choice of a module name: a path
    with pytest.MonkeyPatch.context() as patch:
        for module_name, module in host.modules().items():
            patch.setitem(sys.modules, module_name, module)
        spec = importlib.util.spec_from_file_location(
            name, ROOT / "__init__.py", submodule_search_locations=[str(ROOT)]
        )
        module = importlib.util.module_from_spec(spec)
        patch.setitem(sys.modules, name, module)
        spec.loader.exec_module(module)
        yield host, Pack(module, host)
    for loaded in [key for key in sys.modules if key.startswith(f"{name}.")]:
        del sys.modules[loaded]


@pytest.fixture(autouse=True)
def _as_in_the_host() -> Iterator[None]:
    """Inference mode; and one thread, because for 8x8 pixels more of them only wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with torch.inference_mode():
        yield
    torch.set_num_threads(threads)


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """The host's models folder, with a tiny generator in models/stylegan."""
    save_tiny(tmp_path / "models" / "stylegan" / "tiny.safetensors")
    return tmp_path / "models"


@pytest.fixture
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The pack's weights folder, empty whatever was fetched on this machine."""
    folder = tmp_path / "weights"
    folder.mkdir()
    monkeypatch.setenv("PULSE_WEIGHTS", str(folder))
    return folder


@pytest.fixture
def host(_loaded: tuple[Host, Pack], models: Path) -> Host:
    """The fake host, as new."""
    _loaded[0].reset(models)
    return _loaded[0]


@pytest.fixture
def pack(_loaded: tuple[Host, Pack], host: Host, weights: Path) -> Pack:
    """The pack, registered with the fake host."""
    _loaded[1].register()
    _loaded[1].extra_pnginfo = {}
    return _loaded[1]


@pytest.fixture
def generator(pack: Pack) -> Any:
    """A tiny generator out of the loader node."""
    (generator,) = pack.run("LoadStyleGAN", stylegan_file="tiny.safetensors")
    return generator


@pytest.fixture
def gaussian(pack: Pack, generator: Any, host: Host) -> Any:
    """Its fit, out of the node; what the host was asked for it is forgotten."""
    (fit,) = pack.run("FitLatentGaussian", stylegan=generator, samples=2000)
    host.loads.clear()
    host.updates.clear()
    return fit


@pytest.fixture
def target(pack: Pack, generator: Any, host: Host) -> torch.Tensor:
    """An image of 8x8 pixels that the generator can reach."""
    image, _ = pack.run("PULSESampleFace", stylegan=generator, seed=7)
    (small,) = pack.run("BicubicDownsample", image=image, factor=4)
    host.loads.clear()
    host.updates.clear()
    return small
