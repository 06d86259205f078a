"""What the networks learn to imitate."""
