"""The Hydra configuration tree and the one place that composes it."""
