"""A model of stage-2 unmaps that writes real trace files, with the ground truth beside them.

What it writes is synthetic: counts and order follow the kernel's rules, times follow a profile.
"""

from __future__ import annotations
