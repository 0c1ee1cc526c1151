"""Front doors: a web page (`python -m latentsync.app`), and the service that the Cog predictor shares with it."""
