"""What is tried, in which order, and which of it won: search spaces, the study, the finalists."""
