"""What of autotune works on a machine, what stands in its way there, and what its caches take."""
