"""Photographs: find the faces, align them as the generator knows them, and put restored ones back.

`face.py` says what a found face is, `detection.py` finds them, `alignment.py` cuts them out,
`pasting.py` puts them back, `sizes.py` says how much of a face a photograph really shows.
"""
