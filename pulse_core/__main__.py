"""`python -m pulse_core`: the core from a shell."""

from .cli import main

if __name__ == "__main__":
    raise SystemExit(main())
