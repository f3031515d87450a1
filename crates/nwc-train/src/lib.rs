//! Trains codecs with LibTorch and freezes them for nwc-codec.
#![forbid(unsafe_code)]
