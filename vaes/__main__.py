"""`python -m vaes`."""

from vaes.cli import main

if __name__ == "__main__":
    main()
