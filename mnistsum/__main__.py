"""`python -m mnistsum`: the console command."""

from mnistsum.app.main import main

if __name__ == "__main__":
    main()
