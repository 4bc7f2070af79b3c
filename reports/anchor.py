"""A name for every record of a run, made of what it is of: a figure anywhere on the page leads to the record's row."""

from __future__ import annotations

import hashlib
import json

from evaluation.measurement import Comparison, Measurement

_LETTERS = 10  # of 16 each: that two of a thousand records share a name is less likely than one in a million


def anchor_of(record: Measurement | Comparison) -> str:
    """The record's anchor; equal for records of the same target, baseline, name and conditions."""
    baseline = record.baseline if isinstance(record, Comparison) else ""
    about = json.dumps([record.target, baseline, record.name, record.conditions], sort_keys=True, default=str)
    return "r" + hashlib.sha256(about.encode()).hexdigest()[:_LETTERS]
