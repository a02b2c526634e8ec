"""Numbers and lists as sentences show them."""

import math

import pytest
from aoe.document import findings


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.4968, "0.497"),
        (0, "0"),
        (1.0, "1.00"),
        (53.7148, "53.7"),
        (91991, "91,991"),
        (-7.2266, "−7.23"),
        (1.576e-15, "1.6·10⁻¹⁵"),
        (math.nan, "–"),
        (math.inf, "∞"),
        (-math.inf, "−∞"),
        (0.0051653, "0.00517"),
        (0.04661, "0.0466"),
    ],
)
def test_numbers_as_people_read_them(value, text):
    assert findings.number(value) == text


def test_intervals_and_lists():
    assert findings.interval(0.4968, 0.4942, 0.4994) == "0.497 (0.494–0.499)"
    assert findings.interval(-7.2266, -10.1562, -4.6875) == "−7.23 (−10.2 to −4.69)"
    assert findings.interval(0.5, math.nan, math.nan) == "0.500"
    assert [findings.listed(parts) for parts in ([], ["a"], ["a", "b", "c"])] == ["none", "a", "a, b and c"]
    assert [findings.counted(amount, "claim") for amount in (1, 2)] == ["1 claim", "2 claims"]
