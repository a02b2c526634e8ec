"""Claims: what was published of Assembly of Experts, and whether a study reproduces it.

``config/claims.yaml`` says of each claim which *quantity* would show it, and which values would bear it out.  A
quantity is named by its first key, whose value, like the further keys', goes to the function of that name in
``quantities``, which reads the study's results: ``{transition: full, measure: closing}`` calls ``transition(evidence,
"full", measure="closing")``.  What a study does not have is *not run*; the others are *reproduced* or not, never more.
"""

from typing import Any

REPRODUCED, NOT_REPRODUCED, NOT_RUN = "reproduced", "not reproduced", "not run"

Claim = dict[str, Any]  # one of config/claims.yaml, as claims.schema.json describes it
