"""`python -m pipeline` is the same as `framewave`."""

from pipeline.cli.main import main

if __name__ == "__main__":
    main()
