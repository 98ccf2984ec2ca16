"""The colour-guided filter (He et al., 2013, section 3.4), which an alpha is drawn towards.

Within a small window, alpha is a linear function of colour (the colour-line assumption of
closed-form matting; Levin et al., 2008). The alpha that the generator drew is fitted by such
functions, one a window, and their mean is the filter. Where alpha is 0 or 1 it stays: there a fit
can only smear.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from refiner.resampling import box_mean, upsample

#: Windows are 9 px wide at half the resolution, where the coefficients cost a third of the time and
#: are no worse (He and Sun, 2015, "Fast guided filter"). A reach of 3 px instead of 8 gains two
#: thirds as much, of 11 px no more.
WINDOW = 9
#: Regularisation: the variance of a colour, 0..1, below which it tells nothing, that of one and a
#: half grey levels.
EPSILON = 3e-5
#: How far alpha moves where the generator does not say otherwise: three quarters of the way at a
#: half, less towards 0 and 1.
STRENGTH = 3.0


class GuidedFilter(nn.Module):
    """Move an alpha, where it is between 0 and 1, towards a local linear function of colour.

    It has no weights, and is a module so that in a graph its operations can be told from others:
    they need full precision, for covariances are small differences of large means.
    """

    def forward(self, half: Tensor, image: Tensor, alpha: Tensor, strength: Tensor) -> Tensor:
        """Return alpha, (N, 1, H, W) in 0..1. What is 0 or 1 stays.

        Parameters
        ----------
        half, image
            The photo at half the resolution, (N, 3, H/2, W/2), and in full, (N, 3, H, W); 0..1.
        alpha
            (N, 1, H, W) in 0..1.
        strength
            (N, 1, H, W): how far it moves is multiplied by 1 + tanh of it.
        """
        with torch.autocast(image.device.type, enabled=False):
            fields = coefficients(half.float() - 0.5, F.avg_pool2d(alpha.float(), 2))
            slopes, offset = upsample(fields, 2).split((3, 1), 1)
            fitted = ((slopes * (image - 0.5)).sum(1, keepdim=True) + offset).clamp(0, 1)
            share = STRENGTH * (1 + torch.tanh(strength.float()))
            return (alpha + share * alpha * (1 - alpha) * (fitted - alpha)).clamp(0, 1)


def coefficients(colours: Tensor, alpha: Tensor) -> Tensor:
    """Fit alpha by slopes times R, G, B and an offset: the mean of all windows over each pixel.

    ``colours`` (N, 3, H, W), about zero so that means of products keep their small digits, and
    ``alpha`` (N, 1, H, W) to (N, 4, H, W).
    """
    r, g, b = colours.split(1, 1)
    products = torch.cat([colours * alpha, r * r, g * g, b * b, r * g, r * b, g * b], 1)
    means = box_mean(torch.cat([colours, alpha, products], 1), WINDOW)
    mr, mg, mb, ma, vr, vg, vb, rr, gg, bb, rg, rb, gb = means.split(1, 1)
    # The covariance of colour and alpha, and the inverse of that of colour, by its adjugate.
    vr, vg, vb = vr - mr * ma, vg - mg * ma, vb - mb * ma
    rr, gg, bb = rr - mr * mr + EPSILON, gg - mg * mg + EPSILON, bb - mb * mb + EPSILON
    rg, rb, gb = rg - mr * mg, rb - mr * mb, gb - mg * mb
    arr, arg, arb = gg * bb - gb * gb, rb * gb - rg * bb, rg * gb - rb * gg
    agg, agb, abb = rr * bb - rb * rb, rg * rb - rr * gb, rr * gg - rg * rg
    scale = 1 / (rr * arr + rg * arg + rb * arb).clamp_min(EPSILON**3)
    kr = (arr * vr + arg * vg + arb * vb) * scale
    kg = (arg * vr + agg * vg + agb * vb) * scale
    kb = (arb * vr + agb * vg + abb * vb) * scale
    offset = ma - kr * mr - kg * mg - kb * mb
    return box_mean(torch.cat([kr, kg, kb, offset], 1), WINDOW)
