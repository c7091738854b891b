"""Pixel encoders: architectures, saving and loading. Self-supervised pretraining will stand here too."""
