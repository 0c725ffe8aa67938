"""Whether the machine is fit to measure."""
