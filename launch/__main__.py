"""`python -m launch` is `mfo`."""

from launch.cli import main

if __name__ == "__main__":
    main()
