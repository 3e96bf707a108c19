"""Operators between the picture and its low-resolution measurement.

To add a degradation: one file with a class that keeps base.Degradation's contract, and one entry in
DEGRADATIONS, which the contract tests walk.
"""

from .base import Degradation as Degradation
from .bicubic import BicubicDownsample

DEGRADATIONS = (BicubicDownsample,)
