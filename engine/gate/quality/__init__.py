"""What was said, by whom, and how it sounds."""
