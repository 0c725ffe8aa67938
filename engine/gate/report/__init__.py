"""A judged run for people and for other programs."""
