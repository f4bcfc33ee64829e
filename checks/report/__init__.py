"""What people and machines read of a verdict: one page, Markdown, JUnit XML.

All of it is drawn from verdict.json alone; the items only feed the page's browser of items.
"""

from checks.report.junit import write_junit
from checks.report.markdown import write_markdown
from checks.report.page import write_report

__all__ = ["write_junit", "write_markdown", "write_report"]
