"""What of the catalogue of faults cannot be tried yet, because what it concerns is not built."""

from typing import Final

# the faults that concern what is built
CATALOGUE: Final = tuple(
    f"F{number}"
    for first, last in ((1, 20), (23, 36), (61, 67), (70, 72), (75, 77))
    for number in range(first, last + 1)
)

NOT_YET: Final = {
    "F71": "Mail and tax services are not built: only a PDF that cannot be made is tried.",
    "F75": "Jobs know no amounts: the oldest are taken first, not those with the most money.",
}
