"""The nodes, each a schema and a short `execute`; the work is in pulse_core.

To add a node: write its file, and add it to NODES.
"""

from comfy_api.latest import ComfyExtension, io

from . import folders
from .align_faces import PULSEAlignFacesNode
from .bicubic_downsample import BicubicDownsampleNode
from .degradation import PULSEDegradationNode, PULSEDegradeNode
from .estimate_degradation import PULSEEstimateDegradationNode
from .explore import PULSECompareNode, PULSEContactSheetNode, PULSEUncertaintyNode
from .fit_latent_gaussian import FitLatentGaussianNode
from .inspect_stylegan import PULSEInspectStyleGANNode
from .latents import (
    PULSEBlendLatentsNode,
    PULSELoadLatentNode,
    PULSEPickLatentsNode,
    PULSESaveLatentNode,
    PULSESynthesizeNode,
)
from .load_stylegan import LoadStyleGANNode
from .paste_faces import PULSEPasteFacesNode
from .pulse_search import PULSESearchNode
from .sample_face import PULSESampleFaceNode
from .save_image import PULSESaveImageNode
from .save_stylegan import PULSESaveStyleGANNode
from .search_settings import PULSESearchSettingsNode

NODES: tuple[type[io.ComfyNode], ...] = (
    LoadStyleGANNode,
    FitLatentGaussianNode,
    PULSESearchNode,
    BicubicDownsampleNode,
    PULSESampleFaceNode,
    PULSEInspectStyleGANNode,
    PULSESaveStyleGANNode,
    PULSEAlignFacesNode,
    PULSEPasteFacesNode,
    PULSEDegradationNode,
    PULSEDegradeNode,
    PULSESearchSettingsNode,
    PULSESaveLatentNode,
    PULSELoadLatentNode,
    PULSEPickLatentsNode,
    PULSEBlendLatentsNode,
    PULSESynthesizeNode,
    PULSEContactSheetNode,
    PULSEUncertaintyNode,
    PULSECompareNode,
    PULSESaveImageNode,
    PULSEEstimateDegradationNode,
)


class PulseExtension(ComfyExtension):
    """The extension that ComfyUI loads."""

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        """All nodes. Registers the model folders first, as schemas list the files in them."""
        folders.register_model_folders()
        return list(NODES)
