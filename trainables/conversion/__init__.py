"""A trained analogue network becomes a network of integrate-and-fire neurons: structure, thresholds, calibration, agreement."""
