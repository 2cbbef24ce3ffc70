"""The eleven understanding suites: questions about pictures, asked and scored by lmms-eval."""
