"""What the autoencoder says of crops; of one that was seen before it is not asked again."""

import hashlib
from collections import OrderedDict
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from latentsync.diffusion.conditioning import Conditioning


class CropMoments:
    """Posterior moments of crops and of their masked copies.

    A still brings one crop again and again, a window that is filled up its last one, and a source that speaks many
    sounds all of its own. conditioning: encodes. most: crops that are remembered, those used last; at 256² and 32 bits
    64 kB each.
    """

    def __init__(self, conditioning: Conditioning, most: int = 512) -> None:
        self._conditioning, self._most = conditioning, most
        self._kept: OrderedDict[bytes, tuple[Tensor, Tensor]] = OrderedDict()

    def __call__(self, crops: Sequence[np.ndarray], frames: Tensor) -> tuple[Tensor, Tensor]:
        """Moments (n, 2C, h, w) of the crops as they are, and masked.

        crops: n images (R, R, 3) uint8; frames: the same, (n, 3, R, R) in [-1, 1], on the device.
        """
        keys = [hashlib.blake2b(crop.tobytes(), digest_size=16).digest() for crop in crops]
        new = {key: number for number, key in enumerate(keys) if key not in self._kept}
        if new:
            shown = frames if len(new) == len(frames) else frames[list(new.values())]
            parts = (shown, self._conditioning.masked(shown))
            target, masked = (self._conditioning.moments(part[None])[0] for part in parts)
            self._kept |= zip(new, zip(target, masked))
        for key in keys:
            self._kept.move_to_end(key)
        found = [torch.stack(part) for part in zip(*(self._kept[key] for key in keys))]
        while len(self._kept) > self._most:
            self._kept.popitem(last=False)
        return found[0], found[1]
