"""Fetching public generators: the catalogue of known ones, downloads, conversion of what was downloaded."""
