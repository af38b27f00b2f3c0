"""The output that a script is given a name of: it replaces no file unasked, as those of commands."""

from __future__ import annotations

import argparse

from audiotool.cli.named_output import refuse_existing


def parse_with_output(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """Return a script's arguments, of which `output` is the path that it will write.

    Raises:
        PlanError: that exists, and --overwrite is not given.
    """
    parser.add_argument("--overwrite", action="store_true", help="replace an output that exists")
    arguments = parser.parse_args()
    refuse_existing(arguments.output, arguments.overwrite)
    return arguments
