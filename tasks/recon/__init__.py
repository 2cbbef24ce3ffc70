"""Reconstruction of images: PSNR, SSIM, LPIPS, rFID, rate and codebook usage."""
