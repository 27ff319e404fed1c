"""One module per ./dev command; each has main(arguments) and runs inside .venv."""
