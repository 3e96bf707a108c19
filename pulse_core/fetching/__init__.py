"""Fetching public generators: downloads, checked and written whole or not at all."""
