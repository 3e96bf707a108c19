"""A cache for tensors that depend on weights alone, so that they are not computed again at every step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

T = TypeVar("T")

_entries: WeakTensorKeyDictionary = WeakTensorKeyDictionary()  # by the first weight, for as long as it lives


def cached(name: str, weights: Sequence[Tensor], compute: Callable[[], T]) -> T:
    """compute(), or its cached result if the weights were not moved or changed since.

    Args:
        name: identifies the computation; the result may depend on nothing but this and the weights.
    """
    first, *rest = weights
    versions = [_version(each) for each in weights]
    known = _entries.setdefault(first, {})
    if name in known:
        cached_rest, cached_versions, result = known[name]
        if versions == cached_versions and all(one is other for one, other in zip(rest, cached_rest, strict=True)):
            value: T = result
            return value
    if first.is_cuda and torch.cuda.is_current_stream_capturing():
        return compute()  # a captured result has no values yet, so it cannot be cached
    with torch.inference_mode(False), torch.no_grad():
        value = compute()
    known[name] = (rest, versions, value)
    return value


def _version(weight: Tensor) -> tuple[Any, ...]:
    """Changes when a weight is moved or written to; torch does not track writes to inference tensors."""
    version = 0 if weight.is_inference() else weight._version
    return weight.data_ptr(), version, weight.dtype, weight.device, weight.stride()
