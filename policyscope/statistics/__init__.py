"""Pure statistics that several rooms share: variance, detection, and resampling whole episodes."""
