"""Degradations: the forward operators between an image and its low-resolution target.

To add one: a file with a frozen dataclass of `option`s that follows the contract of base.Degradation, and an entry in
DEGRADATIONS, from which the text form, the help, the node and the contract tests are made.
"""

from .area import AreaDownsample
from .base import Degradation as Degradation
from .bicubic import BicubicDownsample
from .blur import GaussianBlur, MotionBlur
from .chain import Chain as Chain
from .chain import forward_operator as forward_operator
from .grey import Grey
from .jpeg import JPEG
from .lanczos import LanczosDownsample
from .mask import Mask
from .noise import Noise, SaltAndPepper
from .text import forms as forms
from .text import help_text as help_text
from .text import parse_degradation as parse_degradation

DEGRADATIONS: tuple[type[Degradation], ...] = (
    BicubicDownsample,
    AreaDownsample,
    LanczosDownsample,
    GaussianBlur,
    MotionBlur,
    Noise,
    SaltAndPepper,
    JPEG,
    Mask,
    Grey,
)
