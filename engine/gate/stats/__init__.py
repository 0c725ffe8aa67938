"""Statistics of a verdict, on numpy and scipy alone."""
