"""A document as one HTML page that needs nothing else: figures inline, no script, light and dark, phone and paper."""

from jinja2 import Environment, PackageLoader, StrictUndefined

from analysis.reporting.document_model import Document, Table
from analysis.reporting.figures.style import inline_svg


def to_html(document: Document) -> str:
    """The whole page; every text that comes from a study or a run is escaped."""
    loader = PackageLoader("analysis.reporting.formats")
    template = Environment(loader=loader, autoescape=True, undefined=StrictUndefined).get_template("page.html.jinja")
    return template.render(
        document=document,
        figures=[
            (
                figure,
                inline_svg(figure.figure, figure.title),
                inline_svg(figure.narrow, figure.title, "narrow") if figure.narrow else "",
            )
            for figure in document.figures
        ],
        sections=[section.fitted("wide") if isinstance(section, Table) else section for section in document.sections],
    )
