"""Pages of one file each, that open from disk and ask nothing of the network."""
