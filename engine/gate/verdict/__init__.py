"""Each question judged apart, combined by the worst exit code."""
