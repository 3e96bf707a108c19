"""Devices: which there are, whether they calculate correctly, their memory, and what is optimised on them."""
