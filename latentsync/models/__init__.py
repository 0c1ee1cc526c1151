"""Networks: the U-Net, SyncNet, and the encoders around them."""
