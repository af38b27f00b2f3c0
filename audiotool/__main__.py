"""The command: `audiotool`, `python -m audiotool`, and `torchrun -m audiotool`."""


def main() -> None:
    """Run the command line."""
    # Imported here because worker processes import this module too and do not need the command line.
    from audiotool.cli.app import main as run

    run()


if __name__ == "__main__":
    main()
