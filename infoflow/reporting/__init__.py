"""report.html, and what a comparison found in words and tables."""

from infoflow.reporting.drawings import figures
from infoflow.reporting.page import report
from infoflow.reporting.sentences import finding, score_verdict, verdict
from infoflow.reporting.tables import report_tables

__all__ = ["figures", "finding", "report", "report_tables", "score_verdict", "verdict"]
