"""What may be tried: search-space documents, and what of them one machine and one target can run."""
