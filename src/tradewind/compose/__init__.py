"""Words whose every number is checked against facts."""
