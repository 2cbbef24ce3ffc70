"""GEdit-Bench: images edited as an instruction says, judged by a multimodal model."""
