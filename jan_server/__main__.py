"""`python -m jan_server`."""

from jan_server.cli import main

if __name__ == "__main__":
    main(prog_name="jan_server")
