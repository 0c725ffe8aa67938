"""What to do next: what this machine can do, where the time goes, which toggles to try."""
