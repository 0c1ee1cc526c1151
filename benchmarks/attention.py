"""Attention on a CPU in bfloat16 against float32: `python -m benchmarks.attention [rounds]`.

Forward and backward of torch's scaled_dot_product_attention at the shapes of the embedded networks, in pairs of
changing order, processor seconds. Prints a Markdown table of the median ratios; above 1 bfloat16 takes longer (see
`latentsync.models.cpu_attention`).
"""

import statistics
import sys
import time

import torch
import torch.nn.functional as F
from torch import Tensor

HEADS = 4
# (sequences, queries, keys, channels of a head): spatial, audio, temporal with 16 frames and with 4.
SHAPES = {
    "16 × (256, 256)": (16, 256, 256, 24),
    "16 × (64, 64)": (16, 64, 64, 40),
    "16 × (256, 50), audio": (16, 256, 50, 24),
    "2048 × (16, 16), temporal": (2048, 16, 16, 24),
    "2048 × (4, 4), temporal": (2048, 4, 4, 24),
}


def seconds(shape: tuple[int, int, int, int], dtype: torch.dtype) -> float:
    """One forward and backward pass."""
    sequences, queries, keys, channels = shape
    sizes = (queries, keys, keys)
    inputs: list[Tensor] = [
        torch.randn(sequences, HEADS, size, channels, dtype=dtype, requires_grad=True) for size in sizes
    ]
    began = time.process_time()
    F.scaled_dot_product_attention(*inputs).sum().backward()
    return time.process_time() - began


def main(rounds: int = 15) -> None:
    """Print the table."""
    torch.set_num_threads(1)
    print(f"{HEADS} heads, forward and backward, {rounds} pairs, 1 thread, torch {torch.__version__}\n")
    print("| sequences | bfloat16 / float32 | of the pairs | float32 |\n" + "| --- " * 4 + "|")
    for name, shape in SHAPES.items():
        pairs = []
        for number in range(rounds + 1):
            order = (torch.float32, torch.bfloat16) if number % 2 else (torch.bfloat16, torch.float32)
            took = {dtype: seconds(shape, dtype) for dtype in order}
            pairs.append((took[torch.bfloat16] / took[torch.float32], took[torch.float32]))
        ratios, plain = zip(*pairs[1:])  # the first is for warm-up
        spread = f"{min(ratios):.1f} to {max(ratios):.1f}"
        print(f"| {name} | {statistics.median(ratios):.1f} × | {spread} | {1e3 * statistics.median(plain):.1f} ms |")


if __name__ == "__main__":
    main(*(int(argument) for argument in sys.argv[1:2]))
