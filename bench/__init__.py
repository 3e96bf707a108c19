"""The quality benchmark: how good the pictures are, in numbers."""
