"""Text after reconstruction: what a recogniser still reads."""
