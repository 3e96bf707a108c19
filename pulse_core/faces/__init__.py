"""Faces in photographs: detection, alignment, degradation estimates, and pasting restored faces back.

`finding.py` detects faces or takes marked ones, `face.py` is their data, `alignment.py` crops them as in FFHQ,
`estimation.py` estimates their degradation, `sizes.py` chooses the target, `pasting.py` pastes the results.
"""
