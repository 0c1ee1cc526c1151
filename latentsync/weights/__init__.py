"""Weights: find, fetch, verify, load, convert and export them."""
