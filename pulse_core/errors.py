"""Errors for users: what was found, what is accepted, what to do."""

from __future__ import annotations


class PulseError(ValueError):
    """An input that cannot be used.

    Args:
        found: the input, with its name and value.
        accepted: the values that are accepted.
        remedy: what to do.
    """

    def __init__(self, found: str, accepted: str, remedy: str):
        self.found, self.accepted, self.remedy = found, accepted, remedy
        super().__init__(f"{found} Accepted: {accepted} What to do: {remedy}")


class CheckpointError(PulseError):
    """A file that is not a valid generator or latent fit."""


class ImageError(PulseError):
    """A picture that cannot be used."""


class SettingError(PulseError):
    """A setting outside its range or choices."""
