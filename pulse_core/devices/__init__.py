"""Devices: selection, a check that they compute correctly, memory estimates, and device-specific optimizations."""
