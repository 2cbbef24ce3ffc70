"""Quality over rate: several rates of several models, and what one saves against another."""
