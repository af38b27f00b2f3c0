"""The command: `audiotool`, `python -m audiotool`, and `torchrun -m audiotool`."""


def main() -> None:
    """Run what was typed."""
    # Worker processes import this module as well, and need nothing of the command line.
    from audiotool.cli.app import main as run

    run()


if __name__ == "__main__":
    main()
