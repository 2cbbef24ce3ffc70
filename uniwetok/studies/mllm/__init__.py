"""A proof at a small size, on a CPU and on easy-VQA: one model that answers, draws and edits."""
