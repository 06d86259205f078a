"""Running notebooks: the whole study, its manifest, fingerprints and provenance."""
