"""A page on which people compare two sets of waves, and their votes."""
