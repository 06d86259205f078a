"""From results to statistics and verdicts, without torch: `Evidence` is what tables, figures and the report take."""

from lpie.extras import require

require("study")

from lpie.evidence.evidence import Evidence  # noqa: E402 - after what it needs is known to be there

__all__ = ["Evidence"]
