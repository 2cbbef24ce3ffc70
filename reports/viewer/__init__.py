"""The local page over all runs: samples side by side, worst first; files without a server."""
