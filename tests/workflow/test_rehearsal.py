"""The rehearsal at full size: the plan, the differences and the dry run over three parents of 689 GB."""

import re
import sys

import pytest
from support.clones import Clone


@pytest.mark.workflow
def test_three_parents_of_689_gb_are_planned_and_scheduled(tmp_path):
    done = Clone(tmp_path).run("make", "-s", "rehearsal", f"VENV={sys.prefix}").stdout
    assert "671,026,419,200, 36,625,618,432 of them active" in done
    assert re.search(r"498 files of 2,066 GB, \d+ MB", done)
    assert done.count("91,991 tensors of") == 3
    assert "2903 tensors = 1 v3-0324" in done
    assert "89088 tensors = 1 r1" in done
    assert "91991 tensors = 0.2 v3-0324 + 0.3 r1 + 0.5 r1-0528" in done
    assert "audit of r1t: 46,183 weights in 359,178 slabs, 2,066 GB to read" in done
    assert re.search(r"326 diff, .* 326 merge, .* 326 audit_shard, 163 realized, .*: 1251 jobs", done)
