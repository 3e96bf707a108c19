"""Operators between the picture and its low-resolution measurement.

To add a degradation: one file with a class that keeps base.Degradation's contract, and one entry in
DEGRADATIONS, which the texts, the help and the contract tests walk.
"""

from .area import AreaDownsample
from .base import Argument as Argument
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
