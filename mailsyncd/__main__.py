"""`python -m mailsyncd` is `mailsyncd`."""

from mailsyncd.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
