"""`python -m igcam_batch`."""

from igcam_batch.cli import main

if __name__ == "__main__":
    main()
