"""Measurements of the search on a GPU (`make gpu`), and calculated bounds (`python -m bench.speed --roofline`)."""
