"""The commands of `uwt-eval`, one file each; heavy imports happen inside them."""
