"""Files that lie elsewhere: addresses, downloads that go on where they broke off, the node's cache, putting whole."""
