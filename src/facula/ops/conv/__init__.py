"""What looks through windows: convolutions, pools, resampling."""
