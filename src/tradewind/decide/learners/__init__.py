"""Effect learners of a randomised trial, one file each: S, T, X, R and DR, linear or LightGBM inside."""
