"""Training data: the sample contract, shards, windows of clips, the LightningDataModule."""
