"""From results to statistics and verdicts, without torch."""
