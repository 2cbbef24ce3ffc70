"""What this package adds to the command line; the modules import nothing heavy at start-up."""
