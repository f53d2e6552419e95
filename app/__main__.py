"""``landmark-tracker-app``: says for now that the window is still to come."""

import sys


def main() -> int:
    print(
        "error: the window is not built yet; follow recordings with: landmark-tracker track VIDEO --out DIR",
        file=sys.stderr,
    )
    return 2


if __name__ == "__main__":
    sys.exit(main())
