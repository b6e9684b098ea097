"""Records of runs as tables."""
