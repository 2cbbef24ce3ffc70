"""Small versions of the paper's ablations (Tab. 1-5), on a CPU and on real photos."""
