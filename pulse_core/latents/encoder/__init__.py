"""The encoder: predicts a Gaussian over latents from a low-resolution picture, to initialise a search.

    network.py       the Encoder and its file
    pairs.py         samples of the generator: latents and their downscaled images
    augmentation.py  degradations and backgrounds for the images
    training.py      trains an Encoder on augmented pairs

It is trained once per generator, like the Gaussian fit.
"""
