"""Zero-shot classification by a tokenizer's embeddings."""
