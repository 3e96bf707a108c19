"""Checkpoint -> Generator: the catalogue of known files, layouts of other programs' names, conversion, inspection."""
