"""What is tried next, and what is kept of it: the Optuna study."""
