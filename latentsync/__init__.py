"""LatentSync in Lightning: audio-driven lip sync with latent diffusion (arXiv 2412.09262)."""

__version__ = "0.1.0"
