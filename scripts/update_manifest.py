"""Write checkpoints/SHA256SUMS and a model card beside each bundled checkpoint.

    python scripts/update_manifest.py

Run it after a bundled checkpoint was added or replaced; `audiotool models verify` checks the result.
"""

from __future__ import annotations

from audiotool import checkpoint
from audiotool.atomic import write_text
from audiotool.modelcard import write_card


def main() -> None:
    """Write the manifest and the cards, and say which."""
    root = checkpoint.bundled_root("checkpoints")
    paths = sorted(root.glob("*.safetensors"))
    for path in paths:
        print(write_card(path))
    manifest = root / checkpoint.MANIFEST
    write_text(manifest, "".join(f"{checkpoint.sha256(path)}  {path.name}\n" for path in paths))
    print(manifest)


if __name__ == "__main__":
    main()
