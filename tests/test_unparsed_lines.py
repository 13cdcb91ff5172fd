"""A line that was not understood may have been anything: what surrounds it is not vouched for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import traceview

if TYPE_CHECKING:
    from pathlib import Path

UNMAP = """\
 0)               |  kvm_pgtable_stage2_unmap() {
 0)   1.000 us    |    __kvm_tlb_flush_vmid_ipa();
 0)   0.500 us    |    kvm_s2_put_page();
 0)   3.000 us    |  }
"""
HEADER = """\
# tracer: function_graph
#
# CPU  DURATION                  FUNCTION CALLS
# |     |   |                     |   |   |   |
"""


def test_an_unmap_with_a_mangled_line_inside_is_contaminated(tmp_path: Path) -> None:
    mangled = UNMAP.replace("kvm_s2_put_page();", "kvm_s2_pu\x00@@?e")
    file = tmp_path / "trace"
    file.write_text(HEADER + UNMAP + mangled + UNMAP, encoding="utf-8")
    found = traceview.analyze(traceview.open_trace(file))
    assert found.unmaps["status"].to_list() == ["complete", "contaminated", "complete"]
    assert found.unmaps["leaves"].to_list() == [1, None, 1]
    assert found.unmaps["invalidate_leaf"].to_list()[0] == 1
    assert found.losses.select("kind", "count").rows() == [("unparsed", 1)]
