"""The command line: thin commands over what the library does."""


def main() -> None:
    """Run the command that the process was called with; errors of the user end with code 2."""
    from gradatim.cli.app import app

    app()
