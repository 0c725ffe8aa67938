"""Committed baselines: which one holds here, and how a session is recorded."""
