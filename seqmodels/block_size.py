"""How much is computed at once where a whole intermediate result would be large."""

import torch


def numbers_at_once(device: torch.device) -> int:
    """Returns how many numbers an intermediate result may have: what a core's cache holds, or what keeps a GPU busy."""
    return 2**17 if device.type == "cpu" else 2**24
