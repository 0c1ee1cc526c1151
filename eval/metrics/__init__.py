"""Metrics of lip-synced videos, one a file, each with its definition; `registry` knows them by name."""
