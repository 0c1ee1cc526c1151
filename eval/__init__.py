"""Metrics and the commands that score checkpoints and videos."""
