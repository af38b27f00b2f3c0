"""`python -m audiotool`, and `torchrun -m audiotool`: the command."""

from audiotool.cli.app import main

if __name__ == "__main__":
    main()
