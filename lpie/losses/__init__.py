"""Losses: the paper's objective, and SSIM and MS-SSIM as measures and as losses."""
