"""How well `pulse_core.faces.measuring` tells what a picture holds, and the training of its weights."""
