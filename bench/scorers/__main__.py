"""`python -m bench.scorers` downloads the weights of the identity scorer, which are not in this repository."""

import sys

from pulse_core.errors import CheckpointError

from .identity import fetch

if __name__ == "__main__":
    try:
        fetch()
    except (CheckpointError, OSError) as error:
        sys.exit(str(error))
