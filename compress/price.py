"""What the machine costs that a model runs on."""

from __future__ import annotations

from pydantic import Field

from compress.settings import Settings


class Price(Settings):
    """What the machine that is measured on costs.

    Recipe:
        measure: {price: {per_hour: 0.17, currency: USD}}
    """

    per_hour: float = Field(gt=0, description="of the whole machine")
    currency: str = Field(pattern="^[A-Z]{3}$", description="three letters, as ISO 4217 has them: USD, EUR")
