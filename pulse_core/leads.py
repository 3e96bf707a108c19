"""What makes the search fast and changes no result beyond rounding, and how to leave it out.

The environment variable PULSE_WITHOUT names what is left out, joined by commas, for comparing and for looking for
faults; all of it is on otherwise:

    layers          gradients of generator layers written out (generators/frozen.py); else torch's own
    channels_last   the layout of weights and features; else torch's default
    memory          freed memory kept for the next step, in the shell (memory.py); else given back

What changes more than rounding is a setting of the search: full_every, init, recompute.
"""

from __future__ import annotations

import os

LEADS = ("layers", "channels_last", "memory")


def uses(lead: str) -> bool:
    """Whether one of LEADS is on."""
    return lead not in os.environ.get("PULSE_WITHOUT", "").split(",")
