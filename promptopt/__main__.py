"""``python -m promptopt`` is the command line."""

from promptopt_cli.app import main

if __name__ == "__main__":
    main()
