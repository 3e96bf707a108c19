"""ComfyUI Manager runs this after installing the pack: it downloads the default generator, and verifies it.

It installs no package. If it fails, the installation goes on: Load StyleGAN then says how to get the generator.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

GENERATOR = "ffhq-mobile"
GIVES_UP_AFTER = 1800  # seconds


def main() -> None:
    """Downloads the generator in a process of its own, so that no failure of it can be one of the installation."""
    command = [sys.executable, "-m", "pulse_core", "fetch", GENERATOR]
    folder = Path(__file__).resolve().parent
    try:
        subprocess.run(command, cwd=folder, stdin=subprocess.DEVNULL, check=True, timeout=GIVES_UP_AFTER)  # noqa: S603
    except (subprocess.SubprocessError, OSError) as error:
        print(  # noqa: T201 - the Manager shows it
            f"{error}\nPULSE is installed, but without its default generator {GENERATOR}. To download it, install the "
            f'pack again, or open a terminal in {folder} and run: "{sys.executable}" -m pulse_core fetch {GENERATOR}'
        )


if __name__ == "__main__":
    main()
