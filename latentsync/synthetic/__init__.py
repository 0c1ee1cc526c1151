"""The drawn world: talking heads whose right lips for every sound are known, and what trains on them alone."""
