"""Training data of the multimodal model: records, their check, sizes, packing and codes."""
