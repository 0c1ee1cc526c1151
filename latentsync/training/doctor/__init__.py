"""What explains a SyncNet whose loss stays at 0.69: checks of the data, of the pairs and of the network."""
