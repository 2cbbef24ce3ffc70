"""What several tasks share: pictures, prompts, class names."""
