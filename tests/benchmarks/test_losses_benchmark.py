from __future__ import annotations

import numpy as np

from benchmarks.losses import bit_by_bit, over_codes


def test_both_forms_are_the_same_loss():
    for ours, listed in zip(bit_by_bit(2)(), over_codes(2)(), strict=True):
        assert np.abs(ours).max() > 0
        np.testing.assert_allclose(ours, listed, rtol=0, atol=2e-5 * np.abs(listed).max())
