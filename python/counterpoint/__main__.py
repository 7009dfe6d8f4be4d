"""`python -m counterpoint` is the command line."""

from counterpoint.cli import app

if __name__ == "__main__":
    app(prog_name="counterpoint")
