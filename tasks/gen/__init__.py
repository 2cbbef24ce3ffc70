"""Class-to-image generation: gFID, IS, precision and recall."""
