"""The gradients of structural similarity's terms, as plain arithmetic for compiled loops on a CPU and on a GPU."""
# mypy: disable-error-code="no-untyped-def"


def similarity_gradients(mean_a, mean_b, power, error, c1, c2, by_luminance, by_contrast):
    """Half the gradients of a term with respect to `mean_a` and `mean_b`, and its gradients by `power` and `error`.

    The term's own gradients by its two factors come in: (contrast, luminance) for luminance x contrast, (0, 1) for
    contrast alone.
    """
    mean_power = mean_a * mean_a + mean_b * mean_b
    difference = mean_a - mean_b
    shift = difference * difference
    brightness, variance = mean_power + c1, power - mean_power + c2
    by_luminance, by_contrast = by_luminance / brightness, by_contrast / variance
    by_power = by_contrast * (error - shift) / variance
    dimming = by_luminance * shift / brightness - by_power
    lean = (by_contrast - by_luminance) * difference
    return lean + dimming * mean_a, dimming * mean_b - lean, by_power, -by_contrast
