"""Nudge policies: which action, if any, for this customer now. Learned from logged decisions."""
