"""Run the command line: ``python -m gpuseg.cli``."""

from gpuseg.cli.app import command

if __name__ == "__main__":
    command()
