"""`python -m bench.scorers` fetches what the scorers need and this repository does not hold."""

import sys

from pulse_core.errors import CheckpointError

from .identity import fetch

if __name__ == "__main__":
    try:
        fetch()
    except (CheckpointError, OSError) as error:
        sys.exit(str(error))
