"""The allocator of the process, for the command line only: a node pack does not change its host's process."""

from __future__ import annotations

import ctypes
import sys

from ..devices.optimizations import is_enabled

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # of glibc's malloc.h


def keep_freed_memory() -> bool:
    """Makes glibc keep freed blocks instead of returning them to the system. False if there is no glibc.

    Each step of a search frees and allocates the same few hundred megabytes. By default glibc unmaps every large block,
    and the kernel zeroes each page again, which takes more than half of a step's time on two CPU cores.
    """
    if not sys.platform.startswith("linux") or not is_enabled("memory"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except AttributeError:  # another C library
        return False
    return bool(mallopt(_M_MMAP_MAX, 0) and mallopt(_M_TRIM_THRESHOLD, 2**31 - 1))
