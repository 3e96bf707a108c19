"""The errors that a user reads: what was found, what is accepted, what to do."""

from __future__ import annotations


class PulseError(ValueError):
    """An input that cannot be used, told in three parts.

    Args:
        found: what was met, with its name and value.
        accepted: what would have been fine.
        remedy: the next thing to do.
    """

    def __init__(self, found: str, accepted: str, remedy: str):
        self.found, self.accepted, self.remedy = found, accepted, remedy
        super().__init__(f"{found} Accepted: {accepted} What to do: {remedy}")


class CheckpointError(PulseError):
    """A file that cannot be read as a generator or as a fit."""


class ImageError(PulseError):
    """A picture that cannot be a target or a source."""


class SettingError(PulseError):
    """An option with a value outside its range or choices."""
