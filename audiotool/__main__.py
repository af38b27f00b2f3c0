"""The command: `audiotool`, `python -m audiotool`, and `torchrun -m audiotool`."""

import gc


def main() -> None:
    """Run the command line."""
    # Imports make many objects and no garbage. Collecting it would take a tenth of a short command's time.
    gc.set_threshold(50_000, 20, 20)
    # Imported here because worker processes import this module too and do not need the command line.
    from audiotool.cli.app import main as run

    run()


if __name__ == "__main__":
    main()
