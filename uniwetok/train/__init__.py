"""Training of the paper's three models: one loop, three recipes."""


class TrainingError(ValueError):
    """What stops a training run, for a reason that the user can mend.

    The message says what is wrong, where, and how to fix it.
    """
