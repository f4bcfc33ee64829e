"""`python -m launch` is `mfo`."""

from launch.cli.app import main

if __name__ == "__main__":
    main()
