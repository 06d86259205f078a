"""The study: settings, targets, training, evaluation."""
