"""From results to statistics and verdicts, without torch: `Evidence` is what tables, figures and the report take."""

from lpie.evidence.evidence import Evidence

__all__ = ["Evidence"]
