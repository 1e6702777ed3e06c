"""What a machine is and how fast its parts are: measured by children, kept in a file, checked when it is read."""
