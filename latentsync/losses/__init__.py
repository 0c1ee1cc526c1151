"""The losses of LatentSync and the objective that sums them."""
