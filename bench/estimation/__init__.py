"""The accuracy of `pulse_core.faces.estimation`, and the training of its weights."""
