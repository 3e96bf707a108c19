"""How well `pulse_core.faces.estimation` tells what a picture holds, and the training of its weights."""
