"""What every room needs: color, pixels, pyramids, remapping, checks of what comes in."""
