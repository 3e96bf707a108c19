"""Memory habits of the process, for the command line only: a node pack leaves its host's process alone."""

from __future__ import annotations

import ctypes
import sys

from ..devices.optimizations import is_enabled

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # of glibc's malloc.h


def keep_freed_memory() -> bool:
    """Tells glibc to keep freed blocks instead of giving them back to the system. False where there is no glibc.

    A step of the search frees and takes the same few hundred megabytes again and again. By default glibc
    unmaps every large block, and the kernel zeroes each page anew: on two CPU cores that is more than
    half of a step's time.
    """
    if not sys.platform.startswith("linux") or not is_enabled("memory"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except AttributeError:  # another C library
        return False
    return bool(mallopt(_M_MMAP_MAX, 0) and mallopt(_M_TRIM_THRESHOLD, 2**31 - 1))
