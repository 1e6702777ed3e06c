"""What is recommended, and why it may be believed: interleaved blocks against the baseline."""
