"""Pixel encoders: architectures, saving and loading, self-supervised pretraining on played frames, probing."""
