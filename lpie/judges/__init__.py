"""Who looks at results and never trains."""
