"""WeasyPrint, allowed to fetch nothing. Importing this module loads Pango."""

import logging
from typing import Final

from weasyprint import HTML
from weasyprint.urls import URLFetcher, URLFetcherResponse

logging.getLogger("weasyprint.progress").setLevel(logging.WARNING)

_PICTURE: Final = "data:image/png;base64,"


class _Nothing(URLFetcher):  # type: ignore[misc]  # WeasyPrint has no types
    """Opens pictures that are written into the page itself; everything else is refused."""

    def __init__(self) -> None:
        """Allow no protocol but the one that needs no network and no file."""
        super().__init__(allowed_protocols={"data"}, allow_redirects=False)

    def fetch(self, url: str, headers: dict[str, str] | None = None) -> URLFetcherResponse:
        """Return the picture; anything else is left out of the document."""
        if not url.startswith(_PICTURE):
            raise ValueError(f"documents fetch nothing, and not {url[:100]!r}")
        return super().fetch(url, headers)


def write_pdf(html: str, *, identifier: bytes) -> bytes:
    """Return the page as PDF: the same bytes for the same page and identifier."""
    pdf: bytes = HTML(string=html, url_fetcher=_Nothing()).write_pdf(pdf_identifier=identifier)
    return pdf
