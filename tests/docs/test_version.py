"""The version is that of the changelog: a release's, or a later one while there are unreleased changes."""

from __future__ import annotations

import re

from kit.docs import ROOT
from packaging.version import Version

from audiotool.version import __version__


def test_the_version_is_the_changelogs() -> None:
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    unreleased, heading, _ = text.partition("## [Unreleased]\n")[2].partition("\n## [")
    assert heading
    newest = re.findall(r"^## \[(\d\S*)\]", text, re.MULTILINE)[0]
    if unreleased.strip():
        assert Version(__version__) > Version(newest)
        assert Version(__version__).is_devrelease
    else:
        assert __version__ == newest
    cited = re.search(r"^version: (\S+)$", (ROOT / "CITATION.cff").read_text(encoding="utf-8"), re.MULTILINE)
    assert cited is not None
    assert cited[1] == newest
