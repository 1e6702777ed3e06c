"""A study and its result as one HTML file, and the facts that the terminal shows of them as well."""
