"""`python -m inferlease.cli`: the tool without its script."""

from __future__ import annotations

import sys

from inferlease.cli import main

sys.exit(main())
